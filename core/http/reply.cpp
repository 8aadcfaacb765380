#include "core/http/reply.hpp"

#include "core/http/errors.hpp"

namespace minions::core::http {

Reply json(int status, const Value& value) {
    return json_text(status, std::make_shared<const std::string>(to_json(value)));
}

Reply json_text(int status, std::shared_ptr<const std::string> body) {
    Reply reply;
    reply.status = status;
    reply.content_type = "application/json";
    reply.body = std::move(body);
    return reply;
}

Reply text(int status, std::string body, std::string content_type) {
    Reply reply;
    reply.status = status;
    reply.content_type = std::move(content_type);
    reply.body = std::make_shared<const std::string>(std::move(body));
    return reply;
}

Reply stream(int status, std::string content_type, StreamFunction function) {
    Reply reply;
    reply.status = status;
    reply.content_type = std::move(content_type);
    reply.stream = std::move(function);
    return reply;
}

Reply upgrade(std::string protocol, std::vector<std::pair<std::string, std::string>> headers,
              TakeOver function) {
    Reply reply;
    reply.status = 101;
    reply.headers = std::move(headers);
    reply.headers.emplace_back("Upgrade", std::move(protocol));
    reply.take_over = std::move(function);
    return reply;
}

Reply error_reply(std::string_view path, const Error& error) {
    Reply reply =
        json_text(status_of(error.code()), std::make_shared<const std::string>(error_body(path, error)));
    switch (error.code()) {
        case Code::unauthenticated:
            reply.headers.emplace_back("WWW-Authenticate", "Bearer");
            break;
        case Code::too_many_requests:
        case Code::unavailable:
            reply.headers.emplace_back("Retry-After", "1");
            break;
        default:
            break;
    }
    return reply;
}

}  // namespace minions::core::http
