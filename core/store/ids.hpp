#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace minions::core {

/// 12 characters of a–z2–7: 60 random bits.
std::string new_id();

/// `time` as RFC 3339 in UTC with milliseconds: "2026-01-31T12:00:00.000Z". Sorts as text.
std::string rfc3339(std::chrono::system_clock::time_point time);
std::string now_rfc3339();
/// Reads RFC 3339. Throws invalid for other texts.
std::chrono::system_clock::time_point parse_rfc3339(std::string_view text);

}  // namespace minions::core
