#pragma once

#include <minions/http_client/client.hpp>

#include <string>

namespace minions::cli {

/// Reads what --host may be: http://HOST[:PORT], HOST[:PORT], unix:/PATH or /PATH. Throws Error{invalid}.
http::Endpoint parse_address(const std::string& text);

/// The daemon of this machine: its Unix socket where somebody listens on it, else 127.0.0.1:3000.
http::Endpoint local_address();

}  // namespace minions::cli
