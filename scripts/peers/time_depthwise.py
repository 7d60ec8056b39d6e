"""Times PyTorch's depthwise convolutions on two threads, in the form of `vision_bench --depthwise`.

Milliseconds of the result, of the data gradient and of the weight gradient, each the median of several calls:
    python scripts/peers/time_depthwise.py [--bf16]
"""

import statistics
import sys
import time

import torch

torch.set_num_threads(2)
IMAGES = 8


def median_ms(call, seconds=0.12):
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or (len(times) < 30 and time.perf_counter() < end):
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def main():
    dtype = torch.bfloat16 if "--bf16" in sys.argv[1:] else torch.float32
    for size, channels in ((56, 96), (28, 192), (14, 384)):
        for kernel in (3, 5, 7):
            x = torch.randn(IMAGES, channels, size, size, dtype=dtype)
            w, g = torch.randn(channels, 1, kernel, kernel, dtype=dtype), torch.randn_like(x)
            pad = [kernel // 2] * 2

            def gradient(mask):
                return torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], pad, [1, 1], False, [0, 0], channels, mask)

            with torch.no_grad():
                forward = median_ms(lambda: torch.nn.functional.conv2d(x, w, padding=pad, groups=channels))
                data, weight = (median_ms(lambda: gradient(mask)) for mask in ([True, False, False], [False, True, False]))
            print(f"{channels:4}x{channels:4}x{kernel}/1 at {size:3}: {forward:8.2f} {data:8.2f} {weight:8.2f} ms")


if __name__ == "__main__":
    main()
