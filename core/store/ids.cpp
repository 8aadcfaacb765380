#include "core/store/ids.hpp"

#include <minions/base/id.hpp>
#include <minions/base/time.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

std::string new_id() { return make_id(); }

std::string rfc3339(std::chrono::system_clock::time_point time) { return format_time_ms(time); }

std::string now_rfc3339() { return rfc3339(std::chrono::system_clock::now()); }

std::chrono::system_clock::time_point parse_rfc3339(std::string_view text) {
    if (const auto time = parse_time(text)) return *time;
    throw Error{Code::invalid, fmt::format("'{}' is no time", text), "write it as 2026-01-31T12:00:00Z"};
}

}  // namespace minions::core
