#include "core/http/errors.hpp"

#include <iterator>

namespace minions::core::http {
namespace {

struct Row {
    Code code;
    int status;
};

constexpr Row statuses[] = {
    {Code::invalid, 400},
    {Code::unauthenticated, 401},
    {Code::forbidden, 403},
    {Code::not_found, 404},
    {Code::method_not_allowed, 405},
    {Code::conflict, 409},
    {Code::busy, 409},
    {Code::wrong_state, 409},
    {Code::unsupported_by_runtime, 409},
    {Code::idempotency_mismatch, 409},
    {Code::cancelled, 409},
    {Code::length_required, 411},
    {Code::too_large, 413},
    {Code::uri_too_long, 414},
    {Code::unsupported_media_type, 415},
    {Code::misdirected, 421},
    {Code::too_many_requests, 429},
    {Code::headers_too_large, 431},
    {Code::internal, 500},
    {Code::not_implemented, 501},
    {Code::failed, 502},
    {Code::unavailable, 503},
    {Code::deadline, 504},
    {Code::no_space, 507},
};

constexpr bool in_order_of_codes() {
    for (std::size_t i = 0; i < std::size(statuses); ++i) {
        if (statuses[i].code != static_cast<Code>(i)) return false;
    }
    return std::size(statuses) == static_cast<std::size_t>(Code::no_space) + 1;
}
static_assert(in_order_of_codes(), "one row for each Code, in their order");

bool is_deployment_path(std::string_view path) {
    constexpr std::string_view prefix = "/api/v1/vm";
    return path.substr(0, prefix.size()) == prefix &&
           (path.size() == prefix.size() || path[prefix.size()] == '/');
}

}  // namespace

int status_of(Code code) noexcept {
    const auto index = static_cast<std::size_t>(code);
    return index < std::size(statuses) ? statuses[index].status : 500;
}

std::string error_body(std::string_view path, const Error& error) {
    Value body = Value::object();
    if (is_deployment_path(path)) {
        const bool failed = error.code() == Code::failed;
        body.set("detail", failed ? std::string("deployment_failed") : error.message());
        if (failed) body.set("message", error.message());
    } else {
        body.set("error", error.message());
        body.set("code", minions::to_word(error.code()));
    }
    if (!error.hint().empty()) body.set("hint", error.hint());
    if (const auto* details = error.details().if_object()) {
        for (const auto& [name, value] : *details) {
            if (body.find(name) == nullptr) body.set(name, value);
        }
    }
    return to_json(body);
}

}  // namespace minions::core::http
