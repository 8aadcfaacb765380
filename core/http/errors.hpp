#pragma once

#include <minions/error.hpp>

#include <string>
#include <string_view>

namespace minions::core::http {

/// The HTTP status of a code: the one table.
int status_of(Code code) noexcept;

/// The JSON body of `error` for a request to `path`: under /api/v1/vm {"detail": …}, elsewhere {"error",
/// "code"}; both with "hint" where there is one and the members of the error's details beside.
std::string error_body(std::string_view path, const Error& error);

}  // namespace minions::core::http
