#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace minions {

/// Fills `size` bytes from the kernel's random source. Throws std::system_error. [any thread]
void random_bytes(void* data, std::size_t size);

/// A new id: 12 characters of a-z and 2-7 (60 random bits). [any thread]
std::string make_id();

/// Whether `text` has the form of an id.
bool is_id(std::string_view text) noexcept;

/// Lower-case hexadecimal, two characters for each byte.
std::string hex(std::string_view bytes);

}  // namespace minions
