#pragma once

#include "core/http/server.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core::http {

/// Finds the end of a request head in bytes that come little by little, looking at each once.
class HeadScanner {
  public:
    /// `in` is all that has come since the head began. Returns the head's length, its empty line included,
    /// once it is complete. Throws Error: invalid for what no HTTP client sends (a line that ends without CR,
    /// a first byte that begins no method), uri_too_long, headers_too_large.
    std::optional<std::size_t> scan(std::string_view in, const Limits& limits);

  private:
    std::size_t next_ = 0;        // first byte not looked at
    std::size_t line_start_ = 0;  // of the line that is not complete
    bool in_headers_ = false;
};

/// The path, as it was sent, in the first bytes of what may be no request at all: decides the form of the
/// reply that refuses it. Empty where there is none.
std::string_view sent_path(std::string_view in);

/// Whether a header of that name, of which there may be several, lists the token: separated by commas, in any
/// case, with or without parameters behind a semicolon.
bool lists_token(const Poco::Net::HTTPRequest& request, std::string_view name, std::string_view token);

/// How the body of a request is delimited.
struct Framing {
    bool chunked = false;
    std::optional<std::uint64_t> length;  ///< Content-Length, where there is one
};

/// What the head says, checked strictly: whatever two implementations could read differently is refused.
struct Head {
    std::unique_ptr<Poco::Net::HTTPRequest> request;
    Framing framing;
    bool http11 = false;
    bool keep_alive = false;
    bool expects_continue = false;

    Head();
    Head(Head&&) noexcept;
    Head& operator=(Head&&) noexcept;
    ~Head();
};

/// Parses a complete head. Throws Error: invalid, headers_too_large, not_implemented (a transfer coding
/// besides chunked).
///
/// The result is a Poco HTTPRequest, but not of HTTPRequest::read(): Poco 1.11 decodes RFC 2047 words in
/// header values ("=?UTF-8?Q?a=0D=0Ab?=" becomes a line break), accepts folded lines, bare LF and blanks
/// before the colon.
Head parse_head(std::string_view head, const Limits& limits);

}  // namespace minions::core::http
