#include "core/http/request.hpp"

#include "core/http/head.hpp"

#include <minions/error.hpp>

#include <Poco/Net/HTTPRequest.h>
#include <fmt/format.h>

#include <stdexcept>

namespace minions::core::http {
namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// `what` is "path" or "query", for the message.
std::string percent_decode(std::string_view text, std::string_view what, bool plus_is_blank) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_blank) {
            out.push_back(' ');
        } else if (text[i] != '%') {
            out.push_back(text[i]);
        } else {
            const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                throw Error(Code::invalid,
                            fmt::format("the request's {} has a '%' without two hexadecimal digits", what));
            }
            const char c = static_cast<char>(high * 16 + low);
            if (c == '\0') throw Error(Code::invalid, fmt::format("the request's {} holds a NUL", what));
            out.push_back(c);
            i += 2;
        }
    }
    if (!is_utf8(out)) throw Error(Code::invalid, fmt::format("the request's {} is not UTF-8", what));
    return out;
}

}  // namespace

Request::Request() : client(std::make_shared<Client>()) {}
Request::Request(std::string method, std::string target) : Request() {
    set_head(std::make_unique<Poco::Net::HTTPRequest>(method, target, "HTTP/1.1"));
}
Request::Request(Request&&) noexcept = default;
Request& Request::operator=(Request&&) noexcept = default;
Request::~Request() = default;

const std::string& Request::method() const { return head_->getMethod(); }
const std::string& Request::target() const { return head_->getURI(); }

std::optional<std::string_view> Request::header(std::string_view name) const {
    const auto found = head_->find(std::string(name));
    if (found == head_->end()) return std::nullopt;
    return found->second;
}

bool Request::header_lists(std::string_view name, std::string_view token) const {
    return lists_token(*head_, name, token);
}

void Request::set_header(const std::string& name, const std::string& value) { head_->set(name, value); }

const std::string* Request::query(std::string_view name) const noexcept {
    for (const auto& [key, value] : queries_) {
        if (key == name) return &value;
    }
    return nullptr;
}

const std::string& Request::param(std::string_view name) const {
    for (const auto& [key, value] : params) {
        if (key == name) return value;
    }
    throw std::logic_error(fmt::format("route '{}' has no parameter '{}'", route, name));
}

Value Request::json() const {
    if (body.empty()) throw Error(Code::invalid, "the request has no body", "send a JSON object");
    return parse_json(body);
}

void Request::set_head(std::unique_ptr<Poco::Net::HTTPRequest> head) {
    head_ = std::move(head);
    decode_target();
}

void Request::decode_target() {
    std::string_view target = head_->getURI();
    segments_.clear();
    queries_.clear();
    const std::size_t mark = target.find('?');
    std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    const std::string_view path = target.substr(0, mark);
    path_ = std::string(path);  // what an error is about, should it not decode
    path_ = percent_decode(path, "path", false);
    for (std::size_t start = 1; start <= path.size();) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        segments_.push_back(percent_decode(path.substr(start, end - start), "path", false));
        start = end + 1;
    }
    while (!query.empty()) {
        const std::size_t end = std::min(query.find('&'), query.size());
        const std::string_view pair = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (pair.empty()) continue;
        const std::size_t equals = std::min(pair.find('='), pair.size());
        std::string name = percent_decode(pair.substr(0, equals), "query", true);
        if (this->query(name) != nullptr) {
            throw Error(Code::invalid, fmt::format("query parameter '{}' is there twice", name),
                        "send it once");
        }
        std::string value = percent_decode(pair.substr(std::min(equals + 1, pair.size())),
                                           fmt::format("query parameter '{}'", name), true);
        queries_.emplace_back(std::move(name), std::move(value));
    }
}

}  // namespace minions::core::http
