#include "core/deployments/probe.hpp"

#include <minions/error.hpp>
#include <minions/http_client/client.hpp>

#include <optional>

namespace minions::core {
namespace {

constexpr std::size_t max_body_bytes = 64 * 1024;

/// Reads up to the limit. Returns whether that was all.
bool read_body(http::Stream& stream, std::string& body) {
    body.resize(max_body_bytes);
    std::size_t used = 0;
    bool complete = false;
    try {
        while (!complete && used < body.size()) {
            const auto count = stream.read(body.data() + used, body.size() - used);
            used += count;
            complete = count == 0;
        }
        if (!complete) {
            char further = 0;
            complete = stream.read(&further, 1) == 0;
        }
    } catch (const Error& error) {
        if (error.code() == Code::cancelled) throw;
    }
    body.resize(used);
    return complete;
}

std::optional<Value> as_json(const http::Response& head, const std::string& body) {
    const auto first = body.find_first_not_of(" \t\r\n");
    const bool said = head.header("Content-Type").find("json") != std::string_view::npos;
    const bool looks = first != std::string::npos && (body[first] == '{' || body[first] == '[');
    if (!said && !looks) return std::nullopt;
    try {
        return parse_json(body);
    } catch (const Error&) {
        return std::nullopt;
    }
}

}  // namespace

Value probe_http(const ProbeTarget& target, Deadline deadline, int cancel_fd) {
    Value result = Value::object();
    try {
        auto endpoint = http::Endpoint::tcp(target.address, target.port);
        endpoint.address = target.address;
        const http::Client client(std::move(endpoint));
        http::Request request;
        request.target = target.path;
        request.headers = {{"Accept", "application/json, */*"}, {"Connection", "close"}};
        auto stream = client.open(request, http::Call{deadline, cancel_fd});
        std::string body;
        const bool complete = read_body(stream, body);
        result.set("status_code", stream.head().status);
        auto decoded = complete ? as_json(stream.head(), body) : std::nullopt;
        result.set("response", decoded ? std::move(*decoded) : Value(std::move(body)));
        if (!complete) result.set("truncated", true);
    } catch (const Error& error) {
        if (error.code() == Code::cancelled) throw;
        result.set("status_code", nullptr);
        result.set("error", error.message());
    }
    return result;
}

}  // namespace minions::core
