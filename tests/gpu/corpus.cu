// ---- gelu, bf16 vectors

// points, 256 threads, vectors of 8
KERNEL(k_79cc48ebd59e6c19, 256, 8) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[5]);
  const float q1 = f32((uint32)a.w[6]);
  const float q2 = f32((uint32)a.w[7]);
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 8;
  const uint16* const p0 = (const uint16*)a.w[3];
  uint16* const p1 = (uint16*)a.w[4];
  uint16 y0[8];
  uint16 x0[8];
  read_pack(x0, p0 + c);
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = from_bf16(x0[e]);
    const float v2 = v0 * q0;
    const float v4 = v0 * q1;
    const float v5 = absolute(v4);
    const float v7 = v5 - f32(0x4016c000u);
    const float v10 = fused(f32(0xb71b091bu), v7, f32(0x381a626eu));
    const float v12 = fused(v10, v7, f32(0x378e1e7fu));
    const float v14 = fused(v12, v7, f32(0xb9b15621u));
    const float v16 = fused(v14, v7, f32(0x3a356937u));
    const float v18 = fused(v16, v7, f32(0x373c85fbu));
    const float v20 = fused(v18, v7, f32(0xbb4e55bau));
    const float v22 = fused(v20, v7, f32(0x3c0f0f50u));
    const float v24 = fused(v22, v7, f32(0xbc64b86bu));
    const float v26 = fused(v24, v7, f32(0x3c724505u));
    const float v28 = fused(v26, v7, f32(0xbc2998b0u));
    const float v30 = fused(v28, v7, f32(0x3b8ffed3u));
    const float v32 = fused(v30, v7, f32(0x3f7fc751u));
    const float v33 = v5 * v5;
    const float v36 = fused(f32(0x389421eau), v33, f32(0xba4b9362u));
    const float v38 = fused(v36, v33, f32(0x3ba91764u));
    const float v40 = fused(v38, v33, f32(0xbcdbddeeu));
    const float v42 = fused(v40, v33, f32(0x3de714c2u));
    const float v44 = fused(v42, v33, f32(0xbec09397u));
    const float v46 = fused(v44, v33, f32(0x3e0375d4u));
    const bool v48 = f32(0x407ae148u) < v5;
    const float v50 = v48 ? 1.0000f : v32;
    const float v51 = fused(v46, v5, v5);
    const bool v53 = v5 < 1.1250f;
    const float v54 = v53 ? v51 : v50;
    const int v56 = bit_copy<int>(v4);
    const int v57 = v56 & ((int)0x80000000u);
    const int v58 = bit_copy<int>(v54);
    const int v59 = v58 | v57;
    const float v60 = bit_copy<float>(v59);
    const float v62 = v60 + q2;
    const float v63 = v2 * v62;
    const float v64 = from_bf16(to_bf16(v63));
    y0[e] = to_bf16(v63);
  }
  write_pack(p1 + c, y0);
}

// ---- add, odd rows

// points, 256 threads
KERNEL(k_ee7d50f7387a0968, 256, 10) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t, a.w[3]);
  const int c = (t - row * columns);
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  const float* const p1 = (const float*)a.w[6] + (i64)o0 * a.w[7];
  float* const p2 = (float*)a.w[8] + (i64)o0 * a.w[9];
  float y0[1];
  {
    const int e = 0;
    if (c < inner) {
      const float v0 = read(p0 + (c + e));
      const float v1 = read(p1 + (c + e));
      const float v2 = v0 + v1;
      y0[e] = v2;
    }
  }
  {
    const int e = 0;
    if (c < inner) {
      write(p2 + (c + e), y0[e]);
    }
  }
}

// ---- transpose

// points, 256 threads, vectors of 4
KERNEL(k_70025eac95b8e3b5, 256, 10) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[9]);
  const int columns = inner / 4;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t * 4, a.w[3]);
  const int c = (t - row * columns) * 4;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[7] + (i64)o0 * a.w[8];
  float y0[4];
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float v0 = read(p0 + (i64)((c + e)) * a.w[6]);
    const float v2 = v0 * q0;
    y0[e] = v2;
  }
  write_pack(p1 + c, y0);
}

// ---- softmax, short rows

// rows, 128 threads, 8 a row, 1 steps
KERNEL(k_2a9b9d0ae7b2e9a4, 128, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[8]);
  const int thread = THREAD % 8;
  const int lane = thread;
  const int number = (int)BLOCK * 16 + THREAD / 8;
  const bool active = number < (int)n0;
  const int row = active ? number : 0;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float k0[2];
  float k29[2];
  float u1;
  {
    float x1;
    float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 1; ++s) {
      const int c = s * 16 + 2 * lane;
      float x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = x0[e];
        k0[2 * s + e] = v0;
        r1[e] = higher(r1[e], v0);
      }
    }
    #pragma unroll
    for (int m = 4; m > 0; m /= 2) {
      r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
      r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = higher(r1[0], r1[1]);
    u1 = x1;
  }
  float u31;
  {
    float x31;
    float r31[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 1; ++s) {
      const int c = s * 16 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = k0[2 * s + e];
        const float v2 = v0 - u1;
        const bool v4 = v2 < (-104.0000f);
        const float v5 = v4 ? (-104.0000f) : v2;
        const bool v7 = 89.0000f < v5;
        const float v8 = v7 ? 89.0000f : v5;
        const float v11 = fused(v8, f32(0x3fb8aa3bu), f32(0x4b400000u));
        const float v12 = v11 - f32(0x4b400000u);
        const float v14 = fused(v12, f32(0xbf317200u), v8);
        const float v16 = fused(v12, f32(0xb5bfbe8eu), v14);
        const float v19 = fused(f32(0x3ab52927u), v16, f32(0x3c091cb7u));
        const float v21 = fused(v19, v16, f32(0x3d2aac55u));
        const float v23 = fused(v21, v16, f32(0x3e2aaa49u));
        const float v25 = fused(v23, v16, f32(0x3efffffeu));
        const float v27 = fused(v25, v16, 1.0000f);
        const float v28 = fused(v27, v16, 1.0000f);
        const float v29 = scaled(v28, v12);
        k29[2 * s + e] = v29;
        r31[e] = add(r31[e], v29);
      }
    }
    #pragma unroll
    for (int m = 4; m > 0; m /= 2) {
      r31[0] = add(r31[0], SHUFFLE(r31[0], m));
      r31[1] = add(r31[1], SHUFFLE(r31[1], m));
    }
    x31 = add(r31[0], r31[1]);
    u31 = x31;
  }
  const float u32 = divide(q0, u31);
  if (active) {
    #pragma unroll
    for (int step = 0; step < 1; step += 1) {
      float y0[2];
      #pragma unroll
      for (int s = step; s < step + 1; ++s) {
        const int c = s * 16 + 2 * lane;
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float v29 = k29[2 * s + e];
          const float v33 = v29 * u32;
          y0[2 * (s - step) + e] = v33;
        }
      }
      #pragma unroll
      for (int s = step; s < step + 1; ++s) {
        const int c = s * 16 + 2 * lane;
        write_pack(p1 + c, *(float (*)[2])(y0 + 2 * (s - step)));
      }
    }
  }
}

// ---- softmax, rows in registers

// rows, 128 threads, 32 a row, 12 steps
KERNEL(k_b740a04798abe9d4, 128, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[8]);
  const int thread = THREAD % 32;
  const int lane = thread;
  const int number = (int)BLOCK * 4 + THREAD / 32;
  const bool active = number < (int)n0;
  const int row = active ? number : 0;
  const int o0 = row;
  const uint16* const p0 = (const uint16*)a.w[4] + (i64)o0 * a.w[5];
  uint16* const p1 = (uint16*)a.w[6] + (i64)o0 * a.w[7];
  float k0[24];
  float k29[24];
  float u1;
  {
    float x1;
    float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      uint16 x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = from_bf16(x0[e]);
        k0[2 * s + e] = v0;
        r1[e] = higher(r1[e], v0);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
      r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = higher(r1[0], r1[1]);
    u1 = x1;
  }
  float u31;
  {
    float x31;
    float r31[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = k0[2 * s + e];
        const float v2 = v0 - u1;
        const bool v4 = v2 < (-104.0000f);
        const float v5 = v4 ? (-104.0000f) : v2;
        const bool v7 = 89.0000f < v5;
        const float v8 = v7 ? 89.0000f : v5;
        const float v11 = fused(v8, f32(0x3fb8aa3bu), f32(0x4b400000u));
        const float v12 = v11 - f32(0x4b400000u);
        const float v14 = fused(v12, f32(0xbf317200u), v8);
        const float v16 = fused(v12, f32(0xb5bfbe8eu), v14);
        const float v19 = fused(f32(0x3ab52927u), v16, f32(0x3c091cb7u));
        const float v21 = fused(v19, v16, f32(0x3d2aac55u));
        const float v23 = fused(v21, v16, f32(0x3e2aaa49u));
        const float v25 = fused(v23, v16, f32(0x3efffffeu));
        const float v27 = fused(v25, v16, 1.0000f);
        const float v28 = fused(v27, v16, 1.0000f);
        const float v29 = scaled(v28, v12);
        k29[2 * s + e] = v29;
        r31[e] = add(r31[e], v29);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r31[0] = add(r31[0], SHUFFLE(r31[0], m));
      r31[1] = add(r31[1], SHUFFLE(r31[1], m));
    }
    x31 = add(r31[0], r31[1]);
    u31 = x31;
  }
  const float u32 = divide(q0, u31);
  if (active) {
    #pragma unroll
    for (int step = 0; step < 12; step += 4) {
      uint16 y0[8];
      #pragma unroll
      for (int s = step; s < step + 4; ++s) {
        const int c = s * 64 + 2 * lane;
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float v29 = k29[2 * s + e];
          const float v33 = v29 * u32;
          const float v34 = from_bf16(to_bf16(v33));
          y0[2 * (s - step) + e] = to_bf16(v33);
        }
      }
      #pragma unroll
      for (int s = step; s < step + 4; ++s) {
        const int c = s * 64 + 2 * lane;
        write_pack(p1 + c, *(uint16 (*)[2])(y0 + 2 * (s - step)));
      }
    }
  }
}

// ---- softmax, rows of a block

// rows, 128 threads, 128 a row, 16 steps
KERNEL(k_1ba767b545eef32b, 128, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[8]);
  const int thread = THREAD;
  const int lane = thread % 32, warp = thread / 32;
  const int row = BLOCK;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float k0[32];
  float k29[32];
  float u1;
  {
    float x1;
    float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 16; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      float x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = x0[e];
        k0[2 * s + e] = v0;
        r1[e] = higher(r1[e], v0);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
      r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = higher(r1[0], r1[1]);
    SHARED(float, m1, 4);
    if (lane == 0) {
      m1[THREAD / 32] = x1;
    }
    BARRIER();
    u1 = m1[lane % 4];
    #pragma unroll
    for (int m = 1; m < 4; m *= 2) u1 = higher(u1, SHUFFLE(u1, m));
  }
  float u31;
  {
    float x31;
    float r31[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 16; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = k0[2 * s + e];
        const float v2 = v0 - u1;
        const bool v4 = v2 < (-104.0000f);
        const float v5 = v4 ? (-104.0000f) : v2;
        const bool v7 = 89.0000f < v5;
        const float v8 = v7 ? 89.0000f : v5;
        const float v11 = fused(v8, f32(0x3fb8aa3bu), f32(0x4b400000u));
        const float v12 = v11 - f32(0x4b400000u);
        const float v14 = fused(v12, f32(0xbf317200u), v8);
        const float v16 = fused(v12, f32(0xb5bfbe8eu), v14);
        const float v19 = fused(f32(0x3ab52927u), v16, f32(0x3c091cb7u));
        const float v21 = fused(v19, v16, f32(0x3d2aac55u));
        const float v23 = fused(v21, v16, f32(0x3e2aaa49u));
        const float v25 = fused(v23, v16, f32(0x3efffffeu));
        const float v27 = fused(v25, v16, 1.0000f);
        const float v28 = fused(v27, v16, 1.0000f);
        const float v29 = scaled(v28, v12);
        k29[2 * s + e] = v29;
        r31[e] = add(r31[e], v29);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r31[0] = add(r31[0], SHUFFLE(r31[0], m));
      r31[1] = add(r31[1], SHUFFLE(r31[1], m));
    }
    x31 = add(r31[0], r31[1]);
    SHARED(float, m31, 4);
    if (lane == 0) {
      m31[THREAD / 32] = x31;
    }
    BARRIER();
    u31 = m31[lane % 4];
    #pragma unroll
    for (int m = 1; m < 4; m *= 2) u31 = add(u31, SHUFFLE(u31, m));
  }
  const float u32 = divide(q0, u31);
  #pragma unroll
  for (int step = 0; step < 16; step += 4) {
    float y0[8];
    #pragma unroll
    for (int s = step; s < step + 4; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v29 = k29[2 * s + e];
        const float v33 = v29 * u32;
        y0[2 * (s - step) + e] = v33;
      }
    }
    #pragma unroll
    for (int s = step; s < step + 4; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      write_pack(p1 + c, *(float (*)[2])(y0 + 2 * (s - step)));
    }
  }
}

// ---- softmax, long rows

// rows, 512 threads, 512 a row, any length
KERNEL(k_4165911403522849, 512, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[8]);
  const int thread = THREAD;
  const int lane = thread % 32, warp = thread / 32;
  const int row = BLOCK;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float u1;
  {
    float x1;
    float stack1[32];
    const int chunks = (inner + 1023) / 1024;
    int run = 1;
    while (run * 16 < chunks) run *= 2;
    for (int k = 0; k < run; ++k) {
      float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
      #pragma unroll 8
      for (int s = 0; s < 16; ++s) {
        const int c = (warp * run + k) * 1024 + s * 64 + 2 * lane;
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (c + e < inner) {
            const float v0 = read(p0 + (c + e));
            r1[e] = higher(r1[e], v0);
          }
        }
      }
      #pragma unroll
      for (int m = 16; m > 0; m /= 2) {
        r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
        r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
      }
      x1 = higher(r1[0], r1[1]);
      int l1 = 0;
      for (; k >> l1 & 1; ++l1) x1 = higher(stack1[l1], x1);
      stack1[l1] = x1;
    }
    SHARED(float, m1, 16);
    if (lane == 0) {
      m1[THREAD / 32] = x1;
    }
    BARRIER();
    u1 = m1[lane % 16];
    #pragma unroll
    for (int m = 1; m < 16; m *= 2) u1 = higher(u1, SHUFFLE(u1, m));
  }
  float u31;
  {
    float x31;
    float stack31[32];
    const int chunks = (inner + 1023) / 1024;
    int run = 1;
    while (run * 16 < chunks) run *= 2;
    for (int k = 0; k < run; ++k) {
      float r31[2] = {0.0f, 0.0f};
      #pragma unroll 4
      for (int s = 0; s < 16; ++s) {
        const int c = (warp * run + k) * 1024 + s * 64 + 2 * lane;
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (c + e < inner) {
            const float v0 = read(p0 + (c + e));
            const float v2 = v0 - u1;
            const bool v4 = v2 < (-104.0000f);
            const float v5 = v4 ? (-104.0000f) : v2;
            const bool v7 = 89.0000f < v5;
            const float v8 = v7 ? 89.0000f : v5;
            const float v11 = fused(v8, f32(0x3fb8aa3bu), f32(0x4b400000u));
            const float v12 = v11 - f32(0x4b400000u);
            const float v14 = fused(v12, f32(0xbf317200u), v8);
            const float v16 = fused(v12, f32(0xb5bfbe8eu), v14);
            const float v19 = fused(f32(0x3ab52927u), v16, f32(0x3c091cb7u));
            const float v21 = fused(v19, v16, f32(0x3d2aac55u));
            const float v23 = fused(v21, v16, f32(0x3e2aaa49u));
            const float v25 = fused(v23, v16, f32(0x3efffffeu));
            const float v27 = fused(v25, v16, 1.0000f);
            const float v28 = fused(v27, v16, 1.0000f);
            const float v29 = scaled(v28, v12);
            r31[e] = add(r31[e], v29);
          }
        }
      }
      #pragma unroll
      for (int m = 16; m > 0; m /= 2) {
        r31[0] = add(r31[0], SHUFFLE(r31[0], m));
        r31[1] = add(r31[1], SHUFFLE(r31[1], m));
      }
      x31 = add(r31[0], r31[1]);
      int l31 = 0;
      for (; k >> l31 & 1; ++l31) x31 = add(stack31[l31], x31);
      stack31[l31] = x31;
    }
    SHARED(float, m31, 16);
    if (lane == 0) {
      m31[THREAD / 32] = x31;
    }
    BARRIER();
    u31 = m31[lane % 16];
    #pragma unroll
    for (int m = 1; m < 16; m *= 2) u31 = add(u31, SHUFFLE(u31, m));
  }
  const float u32 = divide(q0, u31);
  for (int first = 2 * thread; first < inner; first += 4096) {
    float y0[8];
    #pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int c = first + s * 1024;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (c + e < inner) {
          const float v0 = read(p0 + (c + e));
          const float v2 = v0 - u1;
          const bool v4 = v2 < (-104.0000f);
          const float v5 = v4 ? (-104.0000f) : v2;
          const bool v7 = 89.0000f < v5;
          const float v8 = v7 ? 89.0000f : v5;
          const float v11 = fused(v8, f32(0x3fb8aa3bu), f32(0x4b400000u));
          const float v12 = v11 - f32(0x4b400000u);
          const float v14 = fused(v12, f32(0xbf317200u), v8);
          const float v16 = fused(v12, f32(0xb5bfbe8eu), v14);
          const float v19 = fused(f32(0x3ab52927u), v16, f32(0x3c091cb7u));
          const float v21 = fused(v19, v16, f32(0x3d2aac55u));
          const float v23 = fused(v21, v16, f32(0x3e2aaa49u));
          const float v25 = fused(v23, v16, f32(0x3efffffeu));
          const float v27 = fused(v25, v16, 1.0000f);
          const float v28 = fused(v27, v16, 1.0000f);
          const float v29 = scaled(v28, v12);
          const float v33 = v29 * u32;
          y0[2 * s + e] = v33;
        }
      }
    }
    #pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int c = first + s * 1024;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (c + e < inner) {
          write(p1 + (c + e), y0[2 * s + e]);
        }
      }
    }
  }
}

// ---- layer norm and its gradient

// rows, 128 threads, 32 a row, 12 steps
KERNEL(k_99c616c1c07560da, 128, 18) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[16]);
  const float q1 = f32((uint32)a.w[17]);
  const int thread = THREAD % 32;
  const int lane = thread;
  const int number = (int)BLOCK * 4 + THREAD / 32;
  const bool active = number < (int)n0;
  const int row = active ? number : 0;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float* const p2 = (float*)a.w[8] + (i64)o0 * a.w[9];
  const float* const p3 = (const float*)a.w[10] + (i64)o0 * a.w[11];
  const float* const p4 = (const float*)a.w[12] + (i64)o0 * a.w[13];
  float* const p5 = (float*)a.w[14] + (i64)o0 * a.w[15];
  float k0[24];
  float k15[24];
  float k4[24];
  float k19[24];
  float u1;
  float u16;
  {
    float x1;
    float x16;
    float r1[2] = {0.0f, 0.0f};
    float r16[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      float x0[2];
      read_pack(x0, p0 + c);
      float x13[2];
      read_pack(x13, p3 + c);
      float x14[2];
      read_pack(x14, p4 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = x0[e];
        const float v13 = x13[e];
        const float v14 = x14[e];
        const float v15 = v13 * v14;
        k0[2 * s + e] = v0;
        k15[2 * s + e] = v15;
        r1[e] = add(r1[e], v0);
        r16[e] = add(r16[e], v15);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r1[0] = add(r1[0], SHUFFLE(r1[0], m));
      r1[1] = add(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = add(r1[0], r1[1]);
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r16[0] = add(r16[0], SHUFFLE(r16[0], m));
      r16[1] = add(r16[1], SHUFFLE(r16[1], m));
    }
    x16 = add(r16[0], r16[1]);
    u1 = x1;
    u16 = x16;
  }
  const float u3 = divide(u1, q0);
  float u6;
  {
    float x6;
    float r6[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = k0[2 * s + e];
        const float v4 = v0 - u3;
        const float v5 = v4 * v4;
        k4[2 * s + e] = v4;
        r6[e] = add(r6[e], v5);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r6[0] = add(r6[0], SHUFFLE(r6[0], m));
      r6[1] = add(r6[1], SHUFFLE(r6[1], m));
    }
    x6 = add(r6[0], r6[1]);
    u6 = x6;
  }
  const float u7 = divide(u6, q0);
  const float u9 = u7 + q1;
  const float u10 = root(u9);
  const float u12 = divide(1.0000f, u10);
  float u21;
  {
    float x21;
    float r21[2] = {0.0f, 0.0f};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v15 = k15[2 * s + e];
        const float v4 = k4[2 * s + e];
        const float v19 = v4 * u12;
        const float v20 = v15 * v19;
        k19[2 * s + e] = v19;
        r21[e] = add(r21[e], v20);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r21[0] = add(r21[0], SHUFFLE(r21[0], m));
      r21[1] = add(r21[1], SHUFFLE(r21[1], m));
    }
    x21 = add(r21[0], r21[1]);
    u21 = x21;
  }
  const float u17 = divide(u16, q0);
  const float u22 = divide(u21, q0);
  if (active) {
    if (thread == 0) {
      write(p1, u1);
      write(p2, u6);
    }
    #pragma unroll
    for (int step = 0; step < 12; step += 4) {
      float y2[8];
      #pragma unroll
      for (int s = step; s < step + 4; ++s) {
        const int c = s * 64 + 2 * lane;
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float v15 = k15[2 * s + e];
          const float v19 = k19[2 * s + e];
          const float v18 = v15 - u17;
          const float v23 = v19 * u22;
          const float v24 = v18 - v23;
          const float v25 = u12 * v24;
          y2[2 * (s - step) + e] = v25;
        }
      }
      #pragma unroll
      for (int s = step; s < step + 4; ++s) {
        const int c = s * 64 + 2 * lane;
        write_pack(p5 + c, *(float (*)[2])(y2 + 2 * (s - step)));
      }
    }
  }
}

// columns, 64 threads
KERNEL(k_b32eb00a14baa163, 64, 16) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[14]);
  const float q1 = f32((uint32)a.w[15]);
  const int tiles = (inner + 63) / 64;
  const int item = BLOCK / tiles;
  const int c = ((BLOCK - item * tiles) * 64 + THREAD) * 1;
  if (c >= inner) return;
  const int parts = a.w[2] > 1 ? (int)a.w[2] : 1;
  const int point = item / parts, part = item % parts;
  float r15[1];
  {
    #pragma unroll
    for (int e = 0; e < 1; ++e) {
      r15[e] = 0.0f;
    }
    const int begin = part * 64, end = begin + 64 < n0 ? begin + 64 : n0;
    #pragma unroll 8
    for (int o0 = begin; o0 < end; ++o0) {
      const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
      const float* const p1 = (const float*)a.w[6] + (i64)o0 * a.w[7];
      const float* const p2 = (const float*)a.w[8] + (i64)o0 * a.w[9];
      const float* const p3 = (const float*)a.w[10] + (i64)o0 * a.w[11];
      const float u2 = read(p2);
      const float u4 = divide(u2, q0);
      const float u6 = read(p3);
      const float u7 = divide(u6, q0);
      const float u9 = u7 + q1;
      const float u10 = root(u9);
      const float u12 = divide(1.0000f, u10);
      {
        const int e = 0;
        const float v0 = read(p0 + (c + e));
        const float v1 = read(p1 + (c + e));
        const float v5 = v1 - u4;
        const float v13 = v5 * u12;
        const float v14 = v0 * v13;
        r15[e] = add(r15[e], v14);
      }
    }
  }
  const int o0 = part;
  float* const p4 = (float*)a.w[12] + (i64)o0 * a.w[13];
  float y0[1];
  {
    const int e = 0;
    y0[e] = r15[e];
  }
  {
    const int e = 0;
    write(p4 + (c + e), y0[e]);
  }
}

// columns, 64 threads
KERNEL(k_6eeaccdb915ff0d6, 64, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int tiles = (inner + 63) / 64;
  const int item = BLOCK / tiles;
  const int c = ((BLOCK - item * tiles) * 64 + THREAD) * 1;
  if (c >= inner) return;
  const int parts = a.w[2] > 1 ? (int)a.w[2] : 1;
  const int point = item / parts, part = item % parts;
  float r1[1];
  {
    #pragma unroll
    for (int e = 0; e < 1; ++e) {
      r1[e] = 0.0f;
    }
    const int begin = part * 64, end = begin + 64 < n0 ? begin + 64 : n0;
    #pragma unroll 8
    for (int o0 = begin; o0 < end; ++o0) {
      const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
      {
        const int e = 0;
        const float v0 = read(p0 + (c + e));
        r1[e] = add(r1[e], v0);
      }
    }
  }
  const int o0 = part;
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float y0[1];
  {
    const int e = 0;
    y0[e] = r1[e];
  }
  {
    const int e = 0;
    write(p1 + (c + e), y0[e]);
  }
}

// columns, 512 threads, all chunks, 32 a column, grouped
GROUP_KERNEL(k_3b46ca768edf03c2, 512, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int tiles = (inner + 15) / 16;
  const int item = BLOCK / tiles;
  const int run = THREAD / 16, lane = THREAD % 16;
  const int column = ((BLOCK - item * tiles) * 16 + lane) * 1;
  const int c = column < inner ? column : 0;
  const int parts = a.w[2] > 1 ? (int)a.w[2] : 1;
  const int point = item / parts, part = item % parts;
  float r1[1];
  SHARED(float, m1, 512);
  {
    const int chunks = n0 > 0 ? (n0 + 0) / 1 : 1;
    int span = 1;
    while (span * 32 < chunks) span *= 2;
    const int before = run * span, left = chunks - before;
    const int mine = left < span ? left : span;
    if (mine > 0) {
      float stack1[32][1];
      for (int k = 0; k < mine; ++k) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = 0.0f;
        }
        const int begin = (before + k) * 1, end = begin + 1 < n0 ? begin + 1 : n0;
        for (int o0 = begin; o0 < end; ++o0) {
          const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
          {
            const int e = 0;
            const float v0 = read(p0 + (c + e));
            r1[e] = add(r1[e], v0);
          }
        }
        int level = 0;
        for (; k >> level & 1; ++level) {
          #pragma unroll
          for (int e = 0; e < 1; ++e) {
            r1[e] = add(stack1[level][e], r1[e]);
          }
        }
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          stack1[level][e] = r1[e];
        }
      }
      bool any = false;
      for (int level = 0; mine >> level; ++level) {
        if (!(mine >> level & 1)) continue;
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = any ? add(stack1[level][e], r1[e]) : stack1[level][e];
        }
        any = true;
      }
      #pragma unroll
      for (int e = 0; e < 1; ++e) {
        m1[THREAD * 1 + e] = r1[e];
      }
    }
    BARRIER();
    const int whole = chunks / span;
    {
      float stack1[8][1];
      for (int k = 0; k < whole; ++k) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = m1[(k * 16 + lane) * 1 + e];
        }
        int level = 0;
        for (; k >> level & 1; ++level) {
          #pragma unroll
          for (int e = 0; e < 1; ++e) {
            r1[e] = add(stack1[level][e], r1[e]);
          }
        }
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          stack1[level][e] = r1[e];
        }
      }
      bool any = whole * span < chunks;
      if (any) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = m1[(whole * 16 + lane) * 1 + e];
        }
      }
      for (int level = 0; whole >> level; ++level) {
        if (!(whole >> level & 1)) continue;
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = any ? add(stack1[level][e], r1[e]) : stack1[level][e];
        }
        any = true;
      }
    }
  }
  if (run > 0 || column >= inner) return;
  const int o0 = part;
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float y0[1];
  {
    const int e = 0;
    y0[e] = r1[e];
  }
  {
    const int e = 0;
    write(p1 + (c + e), y0[e]);
  }
}

// ---- embedding and its gradient

// points, 256 threads, vectors of 4
KERNEL(k_bdc77849827335eb, 256, 5) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[4]);
  const int columns = inner / 4;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 4;
  float* const p0 = (float*)a.w[3];
  float y0[4];
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    y0[e] = q0;
  }
  write_pack(p0 + c, y0);
}

// scatter, 256 threads, vectors of 2
KERNEL(k_2d35daf28a30346a, 256, 13) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int tiles = (inner + 511) / 512;
  const int mine = BLOCK / tiles;
  const int c = ((BLOCK - mine * tiles) * 256 + THREAD) * 2;
  const int total = (int)n0;
  // The address of a point's row, or 0.
  const auto place = [&](int point) -> i64 {
    const int o0 = point;
    const i64* const p0 = (const i64*)a.w[5] + (i64)o0 * a.w[6];
    float* const p2 = (float*)a.w[9] + (i64)o0 * a.w[10];
    const i64 u1 = read(p0);
    if (!in_range(u1, a.w[12], a.w[4], 2)) return 0;
    return (i64)(p2 + u1 * a.w[11]);
  };
  // Takes the values of a point.
  const auto take = [&](int point, float (&y0)[2]) {
    const int o0 = point;
    const i64* const p0 = (const i64*)a.w[5] + (i64)o0 * a.w[6];
    const float* const p1 = (const float*)a.w[7] + (i64)o0 * a.w[8];
    const i64 u1 = read(p0);
    float x0[2];
    read_pack(x0, p1 + c);
    #pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float v0 = x0[e];
      y0[e] = add(y0[e], v0);
    }
  };
  const i64 row = place(mine);
  if (row == 0) return;
  for (int base = 0; base < mine; base += 2048) {
    int other = 0;
    for (int q = base + THREAD; q < mine && q - base < 2048; q += 256) other |= place(q) == row;
    if (BARRIER_OR(other)) return;
  }
  float* const p2 = (float*)row;
  const bool has = c < inner;
  float y0[2];
  if (has) read_pack(y0, p2 + c);
  SHARED(uint32, found, 8);
  for (int base = mine; base < total; base += 256) {
    const uint32 named = BALLOT(base + THREAD < total && place(base + THREAD) == row);
    if (THREAD % 32 == 0) found[THREAD / 32] = named;
    BARRIER();
    for (int w = 0; w < 8; ++w) {
      for (uint32 bits = found[w]; bits != 0; bits &= bits - 1) {
        if (has) take(base + w * 32 + first_bit(bits), y0);
      }
    }
    BARRIER();
  }
  if (!has) return;
  write_pack(p2 + c, y0);
}

// ---- gather along rows

// points, 256 threads
KERNEL(k_156c2f991b355d19, 256, 13) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t, a.w[3]);
  const int c = (t - row * columns);
  const int o0 = row;
  const i64* const p0 = (const i64*)a.w[5] + (i64)o0 * a.w[6];
  const float* const p1 = (const float*)a.w[7] + (i64)o0 * a.w[8];
  float* const p2 = (float*)a.w[11] + (i64)o0 * a.w[12];
  float y0[1];
  {
    const int e = 0;
    if (c < inner) {
      const i64 v0 = read(p0 + (c + e));
      const float v1 = in_range(v0, a.w[10], a.w[4], 1) ? read(p1 + v0 * a.w[9]) : (float)0;
      y0[e] = v1;
    }
  }
  {
    const int e = 0;
    if (c < inner) {
      write(p2 + (c + e), y0[e]);
    }
  }
}

// ---- scatter along rows

// points, 256 threads, vectors of 4
KERNEL(k_304d374272b66ab6, 256, 5) {
  const int inner = (int)a.w[0];
  const int columns = inner / 4;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 4;
  const float* const p0 = (const float*)a.w[3];
  float* const p1 = (float*)a.w[4];
  float y0[4];
  float x0[4];
  read_pack(x0, p0 + c);
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float v0 = x0[e];
    y0[e] = v0;
  }
  write_pack(p1 + c, y0);
}

// walk, 64 threads, own 0x1
KERNEL(k_fffb686b5e7984c1, 64, 13) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int walk = (int)BLOCK * 64 + THREAD;
  if (walk >= n0) return;
  const int o0 = walk % n0;
  const int above_o0 = walk / n0;
  const i64* const p0 = (const i64*)a.w[5] + (i64)o0 * a.w[6];
  const float* const p1 = (const float*)a.w[7] + (i64)o0 * a.w[8];
  float* const p2 = (float*)a.w[9] + (i64)o0 * a.w[10];
  for (int c = 0; c < inner; ++c) {
    {
      const int e = 0;
      const float v0 = read(p1 + (c + e));
      const i64 v1 = read(p0 + (c + e));
      if (in_range(v1, a.w[12], a.w[4], 2)) {
        float* const to = p2 + v1 * a.w[11];
        write(to, add(read(to), v0));
      }
    }
  }
}

// ---- padding

// points, 256 threads, vectors of 4
KERNEL(k_06ec74eff9571d87, 256, 11) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[10]);
  const int columns = inner / 4;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t * 4, a.w[3]);
  const int c = (t - row * columns) * 4;
  const int o0 = row;
  const uint16* const p0 = (const uint16*)a.w[4] + (i64)o0 * a.w[5];
  uint16* const p1 = (uint16*)a.w[8] + (i64)o0 * a.w[9];
  const float u1 = from_bf16(to_bf16(q0));
  uint16 y0[4];
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float v2 = (c + e) >= a.w[6] && (c + e) < a.w[7] ? (from_bf16(read(p0 + (c + e)))) : u1;
    y0[e] = to_bf16(v2);
  }
  write_pack(p1 + c, y0);
}

// ---- columns

// columns, 64 threads
KERNEL(k_34be16c1934a2c1a, 64, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int tiles = (inner + 63) / 64;
  const int item = BLOCK / tiles;
  const int c = ((BLOCK - item * tiles) * 64 + THREAD) * 1;
  if (c >= inner) return;
  const int parts = a.w[2] > 1 ? (int)a.w[2] : 1;
  const int point = item / parts, part = item % parts;
  float r1[1];
  {
    #pragma unroll
    for (int e = 0; e < 1; ++e) {
      r1[e] = 0.0f;
    }
    const int begin = part * 64, end = begin + 64 < n0 ? begin + 64 : n0;
    #pragma unroll 8
    for (int o0 = begin; o0 < end; ++o0) {
      const uint16* const p0 = (const uint16*)a.w[4] + (i64)o0 * a.w[5];
      {
        const int e = 0;
        const float v0 = from_bf16(read(p0 + (c + e)));
        r1[e] = add(r1[e], v0);
      }
    }
  }
  const int o0 = part;
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float y0[1];
  {
    const int e = 0;
    y0[e] = r1[e];
  }
  {
    const int e = 0;
    write(p1 + (c + e), y0[e]);
  }
}

// columns, 512 threads, all chunks, 32 a column
KERNEL(k_1963d93867ae36d4, 512, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int tiles = (inner + 15) / 16;
  const int item = BLOCK / tiles;
  const int run = THREAD / 16, lane = THREAD % 16;
  const int column = ((BLOCK - item * tiles) * 16 + lane) * 1;
  const int c = column < inner ? column : 0;
  const int parts = a.w[2] > 1 ? (int)a.w[2] : 1;
  const int point = item / parts, part = item % parts;
  float r1[1];
  SHARED(float, m1, 512);
  {
    const int chunks = n0 > 0 ? (n0 + 0) / 1 : 1;
    int span = 1;
    while (span * 32 < chunks) span *= 2;
    const int before = run * span, left = chunks - before;
    const int mine = left < span ? left : span;
    if (mine > 0) {
      float stack1[32][1];
      for (int k = 0; k < mine; ++k) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = 0.0f;
        }
        const int begin = (before + k) * 1, end = begin + 1 < n0 ? begin + 1 : n0;
        for (int o0 = begin; o0 < end; ++o0) {
          const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
          {
            const int e = 0;
            const float v0 = read(p0 + (c + e));
            r1[e] = add(r1[e], v0);
          }
        }
        int level = 0;
        for (; k >> level & 1; ++level) {
          #pragma unroll
          for (int e = 0; e < 1; ++e) {
            r1[e] = add(stack1[level][e], r1[e]);
          }
        }
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          stack1[level][e] = r1[e];
        }
      }
      bool any = false;
      for (int level = 0; mine >> level; ++level) {
        if (!(mine >> level & 1)) continue;
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = any ? add(stack1[level][e], r1[e]) : stack1[level][e];
        }
        any = true;
      }
      #pragma unroll
      for (int e = 0; e < 1; ++e) {
        m1[THREAD * 1 + e] = r1[e];
      }
    }
    BARRIER();
    const int whole = chunks / span;
    {
      float stack1[8][1];
      for (int k = 0; k < whole; ++k) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = m1[(k * 16 + lane) * 1 + e];
        }
        int level = 0;
        for (; k >> level & 1; ++level) {
          #pragma unroll
          for (int e = 0; e < 1; ++e) {
            r1[e] = add(stack1[level][e], r1[e]);
          }
        }
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          stack1[level][e] = r1[e];
        }
      }
      bool any = whole * span < chunks;
      if (any) {
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = m1[(whole * 16 + lane) * 1 + e];
        }
      }
      for (int level = 0; whole >> level; ++level) {
        if (!(whole >> level & 1)) continue;
        #pragma unroll
        for (int e = 0; e < 1; ++e) {
          r1[e] = any ? add(stack1[level][e], r1[e]) : stack1[level][e];
        }
        any = true;
      }
    }
  }
  if (run > 0 || column >= inner) return;
  const int o0 = part;
  uint16* const p1 = (uint16*)a.w[6] + (i64)o0 * a.w[7];
  uint16 y0[1];
  {
    const int e = 0;
    const float v2 = from_bf16(to_bf16(r1[e]));
    y0[e] = to_bf16(r1[e]);
  }
  {
    const int e = 0;
    write(p1 + (c + e), y0[e]);
  }
}

// ---- 8-bit operands of a layer's products

// rows, 128 threads, 32 a row, 12 steps
KERNEL(k_423b2861ad8587b8, 128, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int thread = THREAD % 32;
  const int lane = thread;
  const int number = (int)BLOCK * 4 + THREAD / 32;
  const bool active = number < (int)n0;
  const int row = active ? number : 0;
  const int o0 = row;
  const uint16* const p0 = (const uint16*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float u2;
  {
    float x2;
    float r2[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      uint16 x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = from_bf16(x0[e]);
        const float v1 = absolute(v0);
        r2[e] = higher(r2[e], v1);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r2[0] = higher(r2[0], SHUFFLE(r2[0], m));
      r2[1] = higher(r2[1], SHUFFLE(r2[1], m));
    }
    x2 = higher(r2[0], r2[1]);
    u2 = x2;
  }
  if (active) {
    if (thread == 0) {
      write(p1, u2);
    }
  }
}

// rows, 128 threads, 128 a row, 16 steps
KERNEL(k_a9b3be642f8f2db0, 128, 5) {
  const int inner = (int)a.w[0];
  const int thread = THREAD;
  const int lane = thread % 32, warp = thread / 32;
  const int row = BLOCK;
  const float* const p0 = (const float*)a.w[3];
  float* const p1 = (float*)a.w[4];
  float u1;
  {
    float x1;
    float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 16; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      float x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = x0[e];
        r1[e] = higher(r1[e], v0);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
      r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = higher(r1[0], r1[1]);
    SHARED(float, m1, 4);
    if (lane == 0) {
      m1[THREAD / 32] = x1;
    }
    BARRIER();
    u1 = m1[lane % 4];
    #pragma unroll
    for (int m = 1; m < 4; m *= 2) u1 = higher(u1, SHUFFLE(u1, m));
  }
  if (thread == 0) {
    write(p1, u1);
  }
}

// points, 256 threads, vectors of 8
KERNEL(k_6b8eed4a30ed286e, 256, 8) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[6]);
  const float q1 = f32((uint32)a.w[7]);
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 8;
  const uint16* const p0 = (const uint16*)a.w[3];
  const float* const p1 = (const float*)a.w[4];
  uint8* const p2 = (uint8*)a.w[5];
  const float u2 = read(p1);
  const float u4 = higher(u2, q1);
  const float u5 = divide(q0, u4);
  uint8 y0[8];
  uint16 x0[8];
  read_pack(x0, p0 + c);
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = from_bf16(x0[e]);
    const float v6 = v0 * u5;
    const float v7 = from_e4m3(to_e4m3(v6));
    y0[e] = to_e4m3(v6);
  }
  write_pack(p2 + c, y0);
}

// rows, 128 threads, 32 a row, 12 steps
KERNEL(k_1087d8fb56423aa4, 128, 8) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int thread = THREAD % 32;
  const int lane = thread;
  const int number = (int)BLOCK * 4 + THREAD / 32;
  const bool active = number < (int)n0;
  const int row = active ? number : 0;
  const int o0 = row;
  const float* const p0 = (const float*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float u2;
  {
    float x2;
    float r2[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 12; ++s) {
      const int c = s * 64 + 2 * lane;
      float x0[2];
      read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float v0 = x0[e];
        const float v1 = absolute(v0);
        r2[e] = higher(r2[e], v1);
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r2[0] = higher(r2[0], SHUFFLE(r2[0], m));
      r2[1] = higher(r2[1], SHUFFLE(r2[1], m));
    }
    x2 = higher(r2[0], r2[1]);
    u2 = x2;
  }
  if (active) {
    if (thread == 0) {
      write(p1, u2);
    }
  }
}

// rows, 128 threads, 128 a row, 16 steps, guarded
KERNEL(k_b6020fe5b4b9d49f, 128, 5) {
  const int inner = (int)a.w[0];
  const int thread = THREAD;
  const int lane = thread % 32, warp = thread / 32;
  const int row = BLOCK;
  const float* const p0 = (const float*)a.w[3];
  float* const p1 = (float*)a.w[4];
  float u1;
  {
    float x1;
    float r1[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 16; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      float x0[2];
      if (c < inner) read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (c + e < inner) {
          const float v0 = x0[e];
          r1[e] = higher(r1[e], v0);
        }
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r1[0] = higher(r1[0], SHUFFLE(r1[0], m));
      r1[1] = higher(r1[1], SHUFFLE(r1[1], m));
    }
    x1 = higher(r1[0], r1[1]);
    SHARED(float, m1, 4);
    if (lane == 0) {
      m1[THREAD / 32] = x1;
    }
    BARRIER();
    u1 = m1[lane % 4];
    #pragma unroll
    for (int m = 1; m < 4; m *= 2) u1 = higher(u1, SHUFFLE(u1, m));
  }
  if (thread == 0) {
    write(p1, u1);
  }
}

// points, 32 threads, grouped
GROUP_KERNEL(k_e4dab71f5e727e6e, 32, 8) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[5]);
  const float q1 = f32((uint32)a.w[6]);
  const float q2 = f32((uint32)a.w[7]);
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 32 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t;
  const float* const p0 = (const float*)a.w[3];
  float* const p1 = (float*)a.w[4];
  const float u2 = read(p0);
  const float u4 = higher(u2, q2);
  const float u5 = divide(q1, u4);
  const float u6 = divide(q0, u5);
  if (c == 0) {
    write(p1, u6);
  }
}

// points, 256 threads, vectors of 8
KERNEL(k_bae6321f0048a3f5, 256, 8) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[6]);
  const float q1 = f32((uint32)a.w[7]);
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 8;
  const float* const p0 = (const float*)a.w[3];
  const float* const p1 = (const float*)a.w[4];
  uint8* const p2 = (uint8*)a.w[5];
  const float u2 = read(p1);
  const float u4 = higher(u2, q1);
  const float u5 = divide(q0, u4);
  uint8 y0[8];
  float x0[8];
  read_pack(x0, p0 + c);
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = x0[e];
    const float v6 = v0 * u5;
    const float v7 = from_e4m3(to_e4m3(v6));
    y0[e] = to_e4m3(v6);
  }
  write_pack(p2 + c, y0);
}

// rows, 128 threads, 128 a row, 16 steps, guarded
KERNEL(k_49511cefeeca693d, 128, 12) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const float q0 = f32((uint32)a.w[8]);
  const float q1 = f32((uint32)a.w[9]);
  const float q2 = f32((uint32)a.w[10]);
  const float q3 = f32((uint32)a.w[11]);
  const int thread = THREAD;
  const int lane = thread % 32, warp = thread / 32;
  const int row = BLOCK;
  const int o0 = row;
  const uint16* const p0 = (const uint16*)a.w[4] + (i64)o0 * a.w[5];
  float* const p1 = (float*)a.w[6] + (i64)o0 * a.w[7];
  float u99;
  {
    float x99;
    float r99[2] = {f32(0xff800000u), f32(0xff800000u)};
    #pragma unroll
    for (int s = 0; s < 16; ++s) {
      const int c = warp * 1024 + s * 64 + 2 * lane;
      uint16 x0[2];
      if (c < inner) read_pack(x0, p0 + c);
      #pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (c + e < inner) {
          const float v0 = from_bf16(x0[e]);
          const float v2 = v0 * q0;
          const float v3 = absolute(v2);
          const float v5 = v3 - f32(0x4016c000u);
          const float v8 = fused(f32(0xb71b091bu), v5, f32(0x381a626eu));
          const float v10 = fused(v8, v5, f32(0x378e1e7fu));
          const float v12 = fused(v10, v5, f32(0xb9b15621u));
          const float v14 = fused(v12, v5, f32(0x3a356937u));
          const float v16 = fused(v14, v5, f32(0x373c85fbu));
          const float v18 = fused(v16, v5, f32(0xbb4e55bau));
          const float v20 = fused(v18, v5, f32(0x3c0f0f50u));
          const float v22 = fused(v20, v5, f32(0xbc64b86bu));
          const float v24 = fused(v22, v5, f32(0x3c724505u));
          const float v26 = fused(v24, v5, f32(0xbc2998b0u));
          const float v28 = fused(v26, v5, f32(0x3b8ffed3u));
          const float v30 = fused(v28, v5, f32(0x3f7fc751u));
          const float v31 = v3 * v3;
          const float v34 = fused(f32(0x389421eau), v31, f32(0xba4b9362u));
          const float v36 = fused(v34, v31, f32(0x3ba91764u));
          const float v38 = fused(v36, v31, f32(0xbcdbddeeu));
          const float v40 = fused(v38, v31, f32(0x3de714c2u));
          const float v42 = fused(v40, v31, f32(0xbec09397u));
          const float v44 = fused(v42, v31, f32(0x3e0375d4u));
          const bool v46 = f32(0x407ae148u) < v3;
          const float v48 = v46 ? 1.0000f : v30;
          const float v49 = fused(v44, v3, v3);
          const bool v51 = v3 < 1.1250f;
          const float v52 = v51 ? v49 : v48;
          const int v54 = bit_copy<int>(v2);
          const int v55 = v54 & ((int)0x80000000u);
          const int v56 = bit_copy<int>(v52);
          const int v57 = v56 | v55;
          const float v58 = bit_copy<float>(v57);
          const float v60 = v58 + q1;
          const float v62 = v60 * q2;
          const float v63 = v0 * q2;
          const float v64 = v2 * v2;
          const float v65 = -v64;
          const bool v67 = v65 < (-104.0000f);
          const float v68 = v67 ? (-104.0000f) : v65;
          const bool v70 = 89.0000f < v68;
          const float v71 = v70 ? 89.0000f : v68;
          const float v74 = fused(v71, f32(0x3fb8aa3bu), f32(0x4b400000u));
          const float v75 = v74 - f32(0x4b400000u);
          const float v77 = fused(v75, f32(0xbf317200u), v71);
          const float v79 = fused(v75, f32(0xb5bfbe8eu), v77);
          const float v82 = fused(f32(0x3ab52927u), v79, f32(0x3c091cb7u));
          const float v84 = fused(v82, v79, f32(0x3d2aac55u));
          const float v86 = fused(v84, v79, f32(0x3e2aaa49u));
          const float v88 = fused(v86, v79, f32(0x3efffffeu));
          const float v89 = fused(v88, v79, 1.0000f);
          const float v90 = fused(v89, v79, 1.0000f);
          const float v91 = scaled(v90, v75);
          const float v92 = v63 * v91;
          const float v94 = v92 * q3;
          const float v95 = v94 * q0;
          const float v96 = v62 + v95;
          const float v97 = from_bf16(to_bf16(v96));
          const float v98 = absolute(v97);
          r99[e] = higher(r99[e], v98);
        }
      }
    }
    #pragma unroll
    for (int m = 16; m > 0; m /= 2) {
      r99[0] = higher(r99[0], SHUFFLE(r99[0], m));
      r99[1] = higher(r99[1], SHUFFLE(r99[1], m));
    }
    x99 = higher(r99[0], r99[1]);
    SHARED(float, m99, 4);
    if (lane == 0) {
      m99[THREAD / 32] = x99;
    }
    BARRIER();
    u99 = m99[lane % 4];
    #pragma unroll
    for (int m = 1; m < 4; m *= 2) u99 = higher(u99, SHUFFLE(u99, m));
  }
  if (thread == 0) {
    write(p1, u99);
  }
}

// points, 32 threads
KERNEL(k_457566def4d3f574, 32, 8) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[5]);
  const float q1 = f32((uint32)a.w[6]);
  const float q2 = f32((uint32)a.w[7]);
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 32 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t;
  const float* const p0 = (const float*)a.w[3];
  float* const p1 = (float*)a.w[4];
  const float u2 = read(p0);
  const float u4 = higher(u2, q2);
  const float u5 = divide(q1, u4);
  const float u6 = divide(q0, u5);
  if (c == 0) {
    write(p1, u6);
  }
}

// points, 256 threads, vectors of 8
KERNEL(k_9a92e4dc0575566e, 256, 12) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[6]);
  const float q1 = f32((uint32)a.w[7]);
  const float q2 = f32((uint32)a.w[8]);
  const float q3 = f32((uint32)a.w[9]);
  const float q4 = f32((uint32)a.w[10]);
  const float q5 = f32((uint32)a.w[11]);
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 8;
  const uint16* const p0 = (const uint16*)a.w[3];
  const float* const p1 = (const float*)a.w[4];
  uint8* const p2 = (uint8*)a.w[5];
  const float u99 = read(p1);
  const float u101 = higher(u99, q5);
  const float u102 = divide(q4, u101);
  uint8 y0[8];
  uint16 x0[8];
  read_pack(x0, p0 + c);
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = from_bf16(x0[e]);
    const float v2 = v0 * q0;
    const float v3 = absolute(v2);
    const float v5 = v3 - f32(0x4016c000u);
    const float v8 = fused(f32(0xb71b091bu), v5, f32(0x381a626eu));
    const float v10 = fused(v8, v5, f32(0x378e1e7fu));
    const float v12 = fused(v10, v5, f32(0xb9b15621u));
    const float v14 = fused(v12, v5, f32(0x3a356937u));
    const float v16 = fused(v14, v5, f32(0x373c85fbu));
    const float v18 = fused(v16, v5, f32(0xbb4e55bau));
    const float v20 = fused(v18, v5, f32(0x3c0f0f50u));
    const float v22 = fused(v20, v5, f32(0xbc64b86bu));
    const float v24 = fused(v22, v5, f32(0x3c724505u));
    const float v26 = fused(v24, v5, f32(0xbc2998b0u));
    const float v28 = fused(v26, v5, f32(0x3b8ffed3u));
    const float v30 = fused(v28, v5, f32(0x3f7fc751u));
    const float v31 = v3 * v3;
    const float v34 = fused(f32(0x389421eau), v31, f32(0xba4b9362u));
    const float v36 = fused(v34, v31, f32(0x3ba91764u));
    const float v38 = fused(v36, v31, f32(0xbcdbddeeu));
    const float v40 = fused(v38, v31, f32(0x3de714c2u));
    const float v42 = fused(v40, v31, f32(0xbec09397u));
    const float v44 = fused(v42, v31, f32(0x3e0375d4u));
    const bool v46 = f32(0x407ae148u) < v3;
    const float v48 = v46 ? 1.0000f : v30;
    const float v49 = fused(v44, v3, v3);
    const bool v51 = v3 < 1.1250f;
    const float v52 = v51 ? v49 : v48;
    const int v54 = bit_copy<int>(v2);
    const int v55 = v54 & ((int)0x80000000u);
    const int v56 = bit_copy<int>(v52);
    const int v57 = v56 | v55;
    const float v58 = bit_copy<float>(v57);
    const float v60 = v58 + q1;
    const float v62 = v60 * q2;
    const float v63 = v0 * q2;
    const float v64 = v2 * v2;
    const float v65 = -v64;
    const bool v67 = v65 < (-104.0000f);
    const float v68 = v67 ? (-104.0000f) : v65;
    const bool v70 = 89.0000f < v68;
    const float v71 = v70 ? 89.0000f : v68;
    const float v74 = fused(v71, f32(0x3fb8aa3bu), f32(0x4b400000u));
    const float v75 = v74 - f32(0x4b400000u);
    const float v77 = fused(v75, f32(0xbf317200u), v71);
    const float v79 = fused(v75, f32(0xb5bfbe8eu), v77);
    const float v82 = fused(f32(0x3ab52927u), v79, f32(0x3c091cb7u));
    const float v84 = fused(v82, v79, f32(0x3d2aac55u));
    const float v86 = fused(v84, v79, f32(0x3e2aaa49u));
    const float v88 = fused(v86, v79, f32(0x3efffffeu));
    const float v89 = fused(v88, v79, 1.0000f);
    const float v90 = fused(v89, v79, 1.0000f);
    const float v91 = scaled(v90, v75);
    const float v92 = v63 * v91;
    const float v94 = v92 * q3;
    const float v95 = v94 * q0;
    const float v96 = v62 + v95;
    const float v97 = from_bf16(to_bf16(v96));
    const float v103 = v97 * u102;
    const float v104 = from_e5m2(to_e5m2(v103));
    y0[e] = to_e5m2(v103);
  }
  write_pack(p2 + c, y0);
}

// points, 256 threads, vectors of 8
KERNEL(k_f2c9bae99b08c372, 256, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t * 8, a.w[3]);
  const int c = (t - row * columns) * 8;
  const int o0 = row;
  const uint8* const p0 = (const uint8*)a.w[4] + (i64)o0 * a.w[5];
  uint8* const p1 = (uint8*)a.w[7] + (i64)o0 * a.w[8];
  uint8 y0[8];
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = from_e4m3(read(p0 + (i64)((c + e)) * a.w[6]));
    const float v1 = from_e4m3(to_e4m3(v0));
    y0[e] = to_e4m3(v0);
  }
  write_pack(p1 + c, y0);
}

// points, 256 threads, vectors of 8
KERNEL(k_5cb47cfba1ab0573, 256, 9) {
  const int n0 = (int)a.w[0];
  const int inner = (int)a.w[1];
  const int columns = inner / 8;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= (int)n0 * columns) return;
  const int row = quotient(t * 8, a.w[3]);
  const int c = (t - row * columns) * 8;
  const int o0 = row;
  const uint8* const p0 = (const uint8*)a.w[4] + (i64)o0 * a.w[5];
  uint8* const p1 = (uint8*)a.w[7] + (i64)o0 * a.w[8];
  uint8 y0[8];
  #pragma unroll
  for (int e = 0; e < 8; ++e) {
    const float v0 = from_e5m2(read(p0 + (i64)((c + e)) * a.w[6]));
    const float v1 = from_e5m2(to_e5m2(v0));
    y0[e] = to_e5m2(v0);
  }
  write_pack(p1 + c, y0);
}

// ---- AdamW

// points, 32 threads
KERNEL(k_c5e27e63b6dc49f9, 32, 12) {
  const int inner = (int)a.w[0];
  const double q0 = f64((uint64)a.w[9]);
  const double q1 = f64((uint64)a.w[10]);
  const double q2 = f64((uint64)a.w[11]);
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 32 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t;
  const i64* const p0 = (const i64*)a.w[3];
  const i64* const p1 = (const i64*)a.w[4];
  i64* const p2 = (i64*)a.w[5];
  const float* const p3 = (const float*)a.w[6];
  float* const p4 = (float*)a.w[7];
  float* const p5 = (float*)a.w[8];
  const i64 u0 = read(p0);
  const i64 u1 = read(p1);
  const i64 u2 = add(u0, u1);
  const float u3 = read(p3);
  const double u4 = (double)u3;
  const double u6 = (double)u2;
  const double u8 = u6 * q1;
  const double u9 = exp(u8);
  const double u10 = q0 - u9;
  const double u11 = divide(u4, u10);
  const float u12 = (float)u11;
  const double u14 = u6 * q2;
  const double u15 = exp(u14);
  const double u16 = q0 - u15;
  const double u17 = root(u16);
  const float u18 = (float)u17;
  if (c == 0) {
    write(p2, u2);
    write(p4, u12);
    write(p5, u18);
  }
}

// points, 32 threads
KERNEL(k_e18fd6020e979b53, 32, 6) {
  const int inner = (int)a.w[0];
  const i64 q0 = (i64)a.w[5];
  const int columns = inner > 0 ? inner : 1;
  const int t = (int)BLOCK * 32 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t;
  const i64* const p0 = (const i64*)a.w[3];
  i64* const p1 = (i64*)a.w[4];
  const i64 u0 = read(p0);
  const i64 u2 = add(u0, q0);
  if (c == 0) {
    write(p1, u2);
  }
}

// points, 256 threads, vectors of 4, grouped
GROUP_KERNEL(k_f6f4b8ce4dba61c6, 256, 19) {
  const int inner = (int)a.w[0];
  const float q0 = f32((uint32)a.w[13]);
  const float q1 = f32((uint32)a.w[14]);
  const float q2 = f32((uint32)a.w[15]);
  const float q3 = f32((uint32)a.w[16]);
  const float q4 = f32((uint32)a.w[17]);
  const float q5 = f32((uint32)a.w[18]);
  const int columns = inner / 4;
  const int t = (int)BLOCK * 256 + THREAD;
  if (t >= 1 * columns) return;
  const int c = t * 4;
  const float* const p0 = (const float*)a.w[3];
  const float* const p1 = (const float*)a.w[4];
  float* const p2 = (float*)a.w[5];
  const float* const p3 = (const float*)a.w[6];
  float* const p4 = (float*)a.w[7];
  const float* const p5 = (const float*)a.w[8];
  const float* const p6 = (const float*)a.w[9];
  const float* const p7 = (const float*)a.w[10];
  const float* const p8 = (const float*)a.w[11];
  float* const p9 = (float*)a.w[12];
  const float u15 = read(p6);
  const float u17 = u15 * q4;
  const float u18 = q3 - u17;
  const float u20 = read(p7);
  const float u22 = read(p8);
  float y0[4];
  float y1[4];
  float y2[4];
  float x0[4];
  read_pack(x0, p0 + c);
  float x1[4];
  read_pack(x1, p1 + c);
  float x6[4];
  read_pack(x6, p3 + c);
  float x13[4];
  read_pack(x13, p5 + c);
  #pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float v0 = x0[e];
    const float v1 = x1[e];
    const float v2 = v1 - v0;
    const float v4 = v2 * q0;
    const float v5 = v0 + v4;
    const float v6 = x6[e];
    const float v8 = v6 * q1;
    const float v9 = v1 * v1;
    const float v11 = v9 * q2;
    const float v12 = v8 + v11;
    const float v13 = x13[e];
    const float v19 = v13 * u18;
    const float v21 = root(v12);
    const float v23 = divide(v21, u22);
    const float v25 = v23 + q5;
    const float v26 = divide(v5, v25);
    const float v27 = u20 * v26;
    const float v28 = v19 - v27;
    y0[e] = v5;
    y1[e] = v12;
    y2[e] = v28;
  }
  write_pack(p2 + c, y0);
  write_pack(p4 + c, y1);
  write_pack(p9 + c, y2);
}

