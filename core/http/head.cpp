#include "core/http/head.hpp"

#include <Poco/Net/HTTPRequest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace minions::core::http {
namespace {

using Poco::Net::HTTPRequest;

constexpr std::array<bool, 256> make_token_characters() {
    std::array<bool, 256> table{};
    for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = true;
    for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = true;
    for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = true;
    for (const char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
        table[static_cast<unsigned char>(c)] = true;
    }
    return table;
}
constexpr auto token_characters = make_token_characters();

bool is_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return token_characters[static_cast<unsigned char>(c)];
    });
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

[[noreturn]] void refuse(std::string message) { throw Error(Code::invalid, std::move(message)); }

// Calls visit(line) for each line, without CRLF, up to the empty one.
template <class Visit>
void for_lines(std::string_view head, Visit visit) {
    while (!head.empty()) {
        const std::size_t end = head.find("\r\n");
        if (end == std::string_view::npos || end == 0) return;
        visit(head.substr(0, end));
        head.remove_prefix(end + 2);
    }
}

// "GET /path HTTP/1.1" with exactly one blank between the parts. Returns the authority of an absolute target.
std::string_view parse_request_line(std::string_view line, Head& out) {
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last)
        refuse("the request line is not 'METHOD target HTTP/1.1'");
    const std::string_view method = line.substr(0, first);
    std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method) || method.size() > 32) refuse("the request's method is not a token");
    if (version == "HTTP/1.1") {
        out.http11 = true;
    } else if (version != "HTTP/1.0") {
        refuse("the request's version is not HTTP/1.1 or HTTP/1.0");
    }
    for (const char c : target) {
        if (c <= ' ' || c >= 0x7f || c == '#')
            refuse("the request's target holds a character that must be percent-encoded");
    }
    std::string_view authority;
    constexpr std::string_view scheme = "http://";
    if (target.size() > scheme.size() && same(target.substr(0, scheme.size()), scheme)) {
        const std::size_t slash = target.find('/', scheme.size());
        authority =
            target.substr(scheme.size(), slash == std::string_view::npos ? slash : slash - scheme.size());
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    } else if (target.empty() || (target.front() != '/' && !(target == "*" && method == "OPTIONS"))) {
        refuse("the request's target does not start with '/'");
    }
    out.request =
        std::make_unique<HTTPRequest>(std::string(method), std::string(target), std::string(version));
    return authority;
}

// Headers of which a second one would leave open which counts.
bool is_single(std::string_view name) {
    constexpr std::string_view names[] = {"Host",         "Content-Length",  "Transfer-Encoding",
                                          "Content-Type", "Authorization",   "Origin",
                                          "Expect",       "Idempotency-Key", "Upgrade"};
    return std::any_of(std::begin(names), std::end(names), [&](auto known) { return same(known, name); });
}

void add_header(std::string_view line, HTTPRequest& request) {
    if (line.front() == ' ' || line.front() == '\t') refuse("a header is folded over several lines");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) refuse("a header line has no colon");
    const std::string_view name = line.substr(0, colon);
    if (!is_token(name))
        refuse("a header's name is empty or holds a character that is not allowed, such as a blank");
    const std::string_view value = trimmed(line.substr(colon + 1));
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < ' ' && c != '\t') || byte == 0x7f) {
            refuse(fmt::format("header '{}' holds a control character", name));
        }
    }
    const std::string key(name);
    if (is_single(name) && request.has(key)) refuse(fmt::format("header '{}' is there twice", name));
    request.add(key, std::string(value));
}

const std::string* find(const HTTPRequest& request, const std::string& name) {
    const auto found = request.find(name);
    return found == request.end() ? nullptr : &found->second;
}

std::uint64_t parse_length(const std::string& text) {
    const bool digits =
        !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || text.size() > 18) refuse("header 'Content-Length' is not a decimal number of bytes");
    return std::stoull(text);
}

void check_framing(Head& out) {
    const std::string* length = find(*out.request, "Content-Length");
    const std::string* coding = find(*out.request, "Transfer-Encoding");
    if (coding != nullptr) {
        if (length != nullptr) refuse("the request has both 'Content-Length' and 'Transfer-Encoding'");
        if (!out.http11) refuse("'Transfer-Encoding' is not possible in HTTP/1.0");
        if (!same(*coding, "chunked")) {
            throw Error(Code::not_implemented, "only the transfer coding 'chunked' is understood",
                        "send the body with Content-Length or Transfer-Encoding: chunked");
        }
        out.framing.chunked = true;
    }
    if (length != nullptr) out.framing.length = parse_length(*length);
}

void check_host(const Head& out, std::string_view authority) {
    const std::string* host = find(*out.request, "Host");
    if (host == nullptr) {
        if (out.http11) refuse("header 'Host' is missing");
        return;
    }
    for (const char c : *host) {
        const bool fine = token_characters[static_cast<unsigned char>(c)] || c == ':' || c == '[' || c == ']';
        if (!fine) refuse("header 'Host' is not 'name' or 'name:port'");
    }
    if (!authority.empty() && !same(authority, *host))
        refuse("header 'Host' and the request's target name different hosts");
}

}  // namespace

std::string_view sent_path(std::string_view in) {
    in = in.substr(0, in.find('\r'));
    const std::size_t blank = in.find(' ');
    if (blank == std::string_view::npos) return {};
    in.remove_prefix(blank + 1);
    return in.substr(0, in.find_first_of(" ?"));
}

bool lists_token(const HTTPRequest& request, std::string_view wanted_name, std::string_view token) {
    for (const auto& [name, value] : request) {
        if (!same(name, wanted_name)) continue;
        std::string_view rest = value;
        while (!rest.empty()) {
            const std::string_view item = rest.substr(0, rest.find(','));
            if (same(trimmed(item.substr(0, item.find(';'))), token)) return true;
            rest.remove_prefix(std::min(item.size() + 1, rest.size()));
        }
    }
    return false;
}

Head::Head() = default;
Head::Head(Head&&) noexcept = default;
Head& Head::operator=(Head&&) noexcept = default;
Head::~Head() = default;

std::optional<std::size_t> HeadScanner::scan(std::string_view in, const Limits& limits) {
    if (next_ == 0 && !in.empty() && !token_characters[static_cast<unsigned char>(in.front())]) {
        refuse("this is not HTTP/1.1");  // TLS, HTTP/2 preludes of other protocols, noise
    }
    while (next_ < in.size()) {
        const auto* found = static_cast<const char*>(std::memchr(in.data() + next_, '\n', in.size() - next_));
        if (found == nullptr) {
            next_ = in.size();
            break;
        }
        const auto at = static_cast<std::size_t>(found - in.data());
        if (at == line_start_ || in[at - 1] != '\r')
            refuse("a line of the request's head does not end with CR LF");
        if (!in_headers_ && at > limits.uri_bytes + 48) break;
        if (at + 1 > limits.header_bytes) break;
        if (at - 1 == line_start_) return at + 1;
        in_headers_ = true;
        next_ = line_start_ = at + 1;
    }
    if (!in_headers_ && in.size() - line_start_ > limits.uri_bytes + 48) {  // 48: a method and the version
        throw Error(Code::uri_too_long,
                    fmt::format("the request's target is longer than {} bytes", limits.uri_bytes));
    }
    if (in.size() >= limits.header_bytes) {
        throw Error(Code::headers_too_large,
                    fmt::format("the request's headers are larger than {} bytes", limits.header_bytes));
    }
    return std::nullopt;
}

Head parse_head(std::string_view head, const Limits& limits) {
    if (head.find('\0') != std::string_view::npos) refuse("the request's head holds a NUL byte");
    Head out;
    std::string_view authority;
    std::size_t count = 0;
    for_lines(head, [&](std::string_view line) {
        if (line.find('\r') != std::string_view::npos) refuse("the request's head holds a CR without LF");
        if (!out.request) {
            authority = parse_request_line(line, out);
            if (out.request->getURI().size() > limits.uri_bytes) {
                throw Error(Code::uri_too_long,
                            fmt::format("the request's target is longer than {} bytes", limits.uri_bytes));
            }
            return;
        }
        if (++count > limits.header_count) {
            throw Error(Code::headers_too_large,
                        fmt::format("the request has more than {} headers", limits.header_count));
        }
        add_header(line, *out.request);
    });
    if (!out.request) refuse("the request line is empty");
    check_framing(out);
    check_host(out, authority);
    out.keep_alive = out.http11 ? !lists_token(*out.request, "Connection", "close")
                                : lists_token(*out.request, "Connection", "keep-alive");
    if (const std::string* expect = find(*out.request, "Expect"); expect != nullptr && out.http11) {
        if (!same(*expect, "100-continue")) refuse("header 'Expect' may only be '100-continue'");
        out.expects_continue = true;
    }
    return out;
}

}  // namespace minions::core::http
