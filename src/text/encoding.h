// What is done to encodings once there are tokens: putting together, cutting, filling up.
#pragma once

#include "corten/tokenizer.h"

namespace corten {

/// Appends tokens that are no part of a text.
void append_special(Encoding& encoding, std::span<const int32_t> ids,
                    std::span<const std::string> tokens, int32_t type_id);
/// Appends another encoding. What overflowed of either is combined with all of the other, as the
/// `tokenizers` library does.
void append(Encoding& encoding, const Encoding& other);

/// Cuts to `max_length` tokens; the rest overflows in parts that share `stride` tokens. Usage error
/// if stride is not below max_length.
void truncate(Encoding& encoding, size_t max_length, size_t stride, bool from_left);
/// Cuts one text, or two together; `added`: special tokens that will come to them. Usage error if
/// what is to be cut is too short, or missing.
void truncate(Encoding& first, Encoding* second, const Truncation& truncation, size_t added);

/// Fills up to a common length.
void pad(std::span<Encoding> encodings, const Padding& padding);

}  // namespace corten
