#include "plugins/cloudhv/api.hpp"

#include <minions/base/deadline.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::cloudhv {

namespace {

constexpr std::size_t largest_reply = std::size_t{4} << 20U;
constexpr std::size_t most_said = 1000;

Error failure(const char* what, const ApiReply& reply) {
    return {Code::failed, fmt::format("{}: {}", what, reply.message())};
}

Value document_of(const char* what, const ApiReply& reply) {
    if (reply.body.empty()) return {};
    try {
        return parse_json(reply.body);
    } catch (const Error&) {
        throw Error{Code::internal, fmt::format("{}: the VMM's answer cannot be read", what)};
    }
}

}  // namespace

std::string ApiReply::message() const {
    std::string text;
    try {
        // A list: the error, what caused it, what caused that.
        const Value document = parse_json(body);
        if (const auto* list = document.if_array()) {
            for (const Value& each : *list) {
                if (!text.empty()) text += ": ";
                text += each.string_or("");
            }
        }
    } catch (const Error&) {  // older ones write plain text
    }
    if (text.empty()) text = body;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    if (text.size() > most_said) text = text.substr(0, most_said) + "…";
    return text.empty() ? fmt::format("status {}", status) : text;
}

Api::Api(const std::string& socket, milliseconds timeout)
    : client_(http::Endpoint::unix_socket(socket)), timeout_(timeout) {}

ApiReply Api::send(const Context& ctx, const ApiRequest& request, SteadyTime until) const {
    http::Request message;
    message.method = request.method;
    message.target = std::string(api_root) + request.path;
    if (!request.body.is_null()) {
        message.headers.emplace_back("Content-Type", "application/json");
        message.body = to_json(request.body);
    }
    auto response = client_.request(message, {until, ctx.cancel_fd()}, largest_reply);
    return {response.status, std::move(response.body)};
}

ApiReply Api::call(const Context& ctx, const ApiRequest& request) const {
    const SteadyTime own = deadline_in(timeout_);
    try {
        return send(ctx, request, std::min(own, ctx.deadline()));
    } catch (const Error& error) {
        if (error.code() == Code::unavailable)
            throw Error{Code::unavailable, fmt::format("the VMM cannot be reached: {}", error.message()), "",
                        true};
        if (error.code() != Code::deadline || own >= ctx.deadline()) throw;
        throw Error{
            Code::unavailable,
            fmt::format("the VMM did not answer '{} {}' within {} seconds", request.method, request.path,
                        std::chrono::duration_cast<std::chrono::seconds>(timeout_).count()),
            "see vmm.err in the instance's directory; raise runtimes.cloudhv.api_timeout_seconds if "
            "the host is only slow",
            true};
    }
}

Value Api::expect(const Context& ctx, const char* what, const ApiRequest& request) const {
    const ApiReply reply = call(ctx, request);
    if (!reply.ok()) throw failure(what, reply);
    return document_of(what, reply);
}

Value Api::expect_long(const Context& ctx, const char* what, const ApiRequest& request) const {
    const ApiReply reply = send(ctx, request, ctx.deadline());
    if (!reply.ok()) throw failure(what, reply);
    return document_of(what, reply);
}

}  // namespace minions::cloudhv
