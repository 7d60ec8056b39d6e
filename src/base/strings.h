// Small text helpers: suggestions for misspelt names, units of bytes and time, UTF-8 checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
size_t edit_distance(std::string_view a, std::string_view b);

/// `; did you mean "x"?` for the candidate closest to `name`, or "" if none is close (at most a
/// third of the name's length, and at least one edit, may differ; upper and lower case count as
/// equal).
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

/// "0 B", "512 B", "1.50 KiB", "12.00 GiB": binary units, two decimals.
std::string format_bytes(uint64_t bytes);
/// "2GiB", "500MB", "1.5 GiB", "4096", "10k": KiB/MiB/GiB/TiB are powers of 1024, kB/MB/GB/TB
/// powers of 1000, and single letters (K, M, G, T) powers of 1024. Usage error "<what>: ..."
/// otherwise.
uint64_t parse_bytes(std::string_view text, std::string_view what);

/// "13B", "124M", "1.1e9", "4096": numbers of things; k, M, B (or G) and T are powers of 1000. Usage error "<what>: ..."
/// otherwise, or beyond 2^63.
int64_t parse_count(std::string_view text, std::string_view what);

/// "850 us", "12.3 ms", "4.56 s", "3 min 20 s", "2 h 05 min", "3 d 04 h" from seconds.
std::string format_duration(double seconds);
/// Seconds from "250ms", "30s", "5min", "2h", "1d", "1h30min" or a plain number of seconds.
/// Usage error "<what>: ..." otherwise.
double parse_duration(std::string_view text, std::string_view what);

/// 1-based line and column (in bytes) of a byte offset.
std::pair<size_t, size_t> line_and_column(std::string_view text, size_t offset) noexcept;

/// Offset of the first byte that starts no valid UTF-8 sequence (RFC 3629: no overlong forms, no
/// surrogates, at most U+10FFFF), or npos.
size_t find_invalid_utf8(std::string_view text) noexcept;

/// `text` fit for an error message: control characters and bytes that are no UTF-8 become '?', and
/// what exceeds `limit` bytes becomes "...".
std::string one_line(std::string_view text, size_t limit = 200);

std::string_view trim(std::string_view text) noexcept;  ///< without ASCII white space at both ends
std::vector<std::string> split(std::string_view text, char separator);

}  // namespace corten
