#include "core/http/server_core.hpp"

#include <Poco/Net/HTTPRequest.h>
#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

namespace minions::core::http {
namespace {

// How much of a body that nobody wanted is read to keep the connection.
constexpr std::size_t max_discard = 256 << 10;
constexpr auto linger_time = std::chrono::seconds(2);

bool is_json(std::string_view content_type) {
    content_type = content_type.substr(0, content_type.find(';'));
    while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
    constexpr std::string_view wanted = "application/json";
    return content_type.size() == wanted.size() &&
           std::equal(wanted.begin(), wanted.end(), content_type.begin(),
                      [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
}

bool promises_body(const Framing& framing) { return framing.chunked || framing.length.value_or(0) > 0; }

}  // namespace

// Goes on with a connection that is this thread's: runs `first`, then step by step until it is parked,
// another thread's, or closed.
void ServerCore::advance(const ConnectionPtr& connection, const std::function<Next()>& first) noexcept {
    for (bool begun = false;; begun = true) {
        try {
            switch (begun ? step(connection) : first()) {
                case Next::again:
                    continue;
                case Next::park_for_input:
                    return park(connection, EPOLLIN);
                case Next::park_for_output:
                    return park(connection, EPOLLOUT);
                case Next::handed_over:
                    return;
                case Next::close:
                    break;
            }
        } catch (...) {
            log(LogLevel::error,
                fmt::format("HTTP connection of {}: {}", connection->peer->text(), current_error().what()));
        }
        return close(connection);
    }
}

ServerCore::Next ServerCore::step(const ConnectionPtr& connection) {
    switch (connection->stage) {
        case Connection::Stage::head:
            return read_head(connection);
        case Connection::Stage::body:
            return read_body(connection);
        case Connection::Stage::writing:
            return write_output(*connection);
        case Connection::Stage::lingering: {
            connection->in.clear();
            const Io io = receive(*connection);
            return io == Io::done ? Next::again : io == Io::blocked ? Next::park_for_input : Next::close;
        }
        case Connection::Stage::handling:
            break;
    }
    return Next::close;
}

ServerCore::Next ServerCore::read_head(const ConnectionPtr& connection) {
    if (!connection->in.empty()) {
        std::optional<std::size_t> size;
        try {
            size = connection->scanner.scan(connection->in, options_.limits);
        } catch (const Error& error) {
            return refuse(connection, error);
        }
        if (size) return begin(connection, *size);
    }
    const Io io = receive(*connection);
    return io == Io::done ? Next::again : io == Io::blocked ? Next::park_for_input : Next::close;
}

// What is not HTTP: where the next request would begin is unknown.
ServerCore::Next ServerCore::refuse(const ConnectionPtr& connection, const Error& error) {
    connection->linger = true;
    return answer(connection, error_reply(sent_path(connection->in), error));
}

ServerCore::Next ServerCore::begin(const ConnectionPtr& connection, std::size_t head_size) {
    Connection& c = *connection;
    Head head;
    try {
        head = parse_head(std::string_view(c.in).substr(0, head_size), options_.limits);
    } catch (const Error& error) {
        return refuse(connection, error);
    }
    c.in.erase(0, head_size);
    c.scanner = {};
    c.head_deadline.reset();
    c.exchange = std::make_unique<Exchange>();
    Exchange& exchange = *c.exchange;
    exchange.framing = head.framing;
    exchange.http11 = head.http11;
    exchange.keep_alive = head.keep_alive;
    exchange.expects_continue = head.expects_continue;
    exchange.request.id = next_request_id();
    exchange.request.peer = c.peer;
    exchange.request.client = std::make_shared<Client>(c.fd);
    *c.client.lock() = exchange.request.client;
    Reply reply;
    try {
        exchange.request.set_head(std::move(head.request));
        if (route(c, reply)) prepare_body(exchange);
    } catch (...) {
        exchange.route = nullptr;
        reply = failure(exchange, current_error());
    }
    if (exchange.route == nullptr) {
        c.linger = promises_body(exchange.framing);
        exchange.keep_alive = exchange.keep_alive && !c.linger;
        return answer(connection, std::move(reply));
    }
    if (exchange.route->body == BodyKind::raw || exchange.decoder.done()) return dispatch(connection);
    c.body_deadline = Clock::now() + options_.limits.body_timeout;
    c.stage = Connection::Stage::body;
    if (exchange.expects_continue && c.in.empty()) {
        constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        static_cast<void>(::send(c.fd, go_on.data(), go_on.size(), MSG_NOSIGNAL | MSG_DONTWAIT) + 0);
    }
    return Next::again;
}

// Finds the route and asks who calls. False with a reply where no handler is needed.
bool ServerCore::route(Connection& connection, Reply& reply) {
    Exchange& exchange = *connection.exchange;
    Request& request = exchange.request;
    const bool everything = request.target() == "*";
    const Router::Match match =
        everything ? Router::Match{nullptr, router_.all_methods()} : router_.match(request);
    if (match.route == nullptr) {
        if (match.allow.empty())
            throw Error(Code::not_found, fmt::format("there is nothing at {}", request.path()));
        if (request.method() == "OPTIONS") {
            reply.status = 204;
        } else {
            reply =
                error_reply(request.path(),
                            Error(Code::method_not_allowed,
                                  fmt::format("{} is not possible at {}", request.method(), request.path()),
                                  "use " + match.allow));
        }
        reply.headers.emplace_back("Allow", match.allow);
        return false;
    }
    exchange.route = match.route;
    if (match.route->permission != Permission::none) {
        request.principal = options_.authorize(request, match.route->permission);
    }
    return true;
}

void ServerCore::prepare_body(Exchange& exchange) const {
    const Route& route = *exchange.route;
    std::uint64_t max = route.max_body;
    if (route.body == BodyKind::none) {
        max = 0;
    } else if (max == 0) {
        max = route.body == BodyKind::raw ? options_.limits.raw_bytes : options_.limits.json_bytes;
    }
    if (route.body == BodyKind::json_required && !exchange.framing.chunked && !exchange.framing.length) {
        throw Error(Code::length_required, "the request has no body and this path needs one",
                    "send JSON with Content-Length or Transfer-Encoding: chunked");
    }
    exchange.decoder = BodyDecoder(exchange.framing, max);
    const bool wants_json = route.body == BodyKind::json || route.body == BodyKind::json_required;
    if (wants_json && promises_body(exchange.framing) &&
        !is_json(exchange.request.header("Content-Type").value_or(""))) {
        throw Error(Code::unsupported_media_type, "the request's body is not declared to be JSON",
                    "send the header Content-Type: application/json");
    }
}

ServerCore::Next ServerCore::read_body(const ConnectionPtr& connection) {
    Connection& c = *connection;
    Exchange& exchange = *c.exchange;
    try {
        const std::size_t used = exchange.decoder.feed(c.in, exchange.request.body, std::string::npos);
        c.in.erase(0, used);
    } catch (...) {
        c.linger = true;
        exchange.keep_alive = false;
        return answer(connection, failure(exchange, current_error()));
    }
    if (exchange.decoder.done()) return dispatch(connection);
    const Io io = receive(c);
    return io == Io::done ? Next::again : io == Io::blocked ? Next::park_for_input : Next::close;
}

ServerCore::Next ServerCore::dispatch(const ConnectionPtr& connection) {
    Exchange& exchange = *connection->exchange;
    connection->stage = Connection::Stage::handling;
    if (exchange.route->lane == Lane::quick) return answer(connection, call(exchange));
    if (exchange.route->body == BodyKind::raw) {
        exchange.request.reader = std::make_unique<RawReader>(*connection, options_.limits);
    }
    return hand_over(connection, exchange.route->lane, [this, connection] {
        Reply reply = call(*connection->exchange);
        return answer(connection, std::move(reply));
    });
}

ServerCore::BoundedLane& ServerCore::lane_of(Lane lane) {
    switch (lane) {
        case Lane::waiting:
            return waiting_;
        case Lane::command:
            return commands_;
        case Lane::stream:
            return streams_;
        case Lane::quick:
            break;
    }
    throw std::logic_error("quick requests are handed to nobody");
}

// Runs `work` on a thread of the lane, which then goes on with the connection.
ServerCore::Next ServerCore::hand_over(const ConnectionPtr& connection, Lane lane,
                                       std::function<Next()> work) {
    // Armed before: afterwards the connection is the other thread's.
    rearm(*connection, EPOLLRDHUP);
    BoundedLane& threads = lane_of(lane);
    const bool taken = threads.pool.try_run(
        [self = shared_from_this(), connection, work = std::move(work)] { self->advance(connection, work); });
    if (taken) return Next::handed_over;
    settle_body(*connection);
    const Error full(Code::too_many_requests,
                     fmt::format("as many requests of this kind are under way as may ({} = {})",
                                 threads.setting, threads.max),
                     fmt::format("try again when others have ended, or raise {}", threads.setting), true);
    return answer(connection, failure(*connection->exchange, full));
}

Reply ServerCore::call(Exchange& exchange) const {
    try {
        return exchange.route->handler(exchange.request);
    } catch (...) {
        return failure(exchange, current_error());
    }
}

Reply ServerCore::failure(const Exchange& exchange, const Error& error) const {
    if (error.code() != Code::internal) return error_reply(exchange.request.path(), error);
    log(LogLevel::error, fmt::format("request {} ({} {}): {}", exchange.request.id, exchange.request.method(),
                                     exchange.request.path(), error.what()));
    Error known = error;
    return error_reply(exchange.request.path(), known.with("request_id", exchange.request.id));
}

// Without the whole body read, what follows on the connection is no request.
void ServerCore::settle_body(Connection& connection) const {
    Exchange& exchange = *connection.exchange;
    try {
        std::string unwanted;
        while (!exchange.decoder.done() && unwanted.size() < max_discard && !exchange.expects_continue) {
            const std::size_t used = exchange.decoder.feed(connection.in, unwanted, max_discard);
            connection.in.erase(0, used);
            if (used == 0 && receive(connection) != Io::done) break;
        }
    } catch (const Error&) {
        exchange.keep_alive = false;
    }
    if (exchange.decoder.done()) return;
    exchange.keep_alive = false;
    connection.linger = true;
}

ServerCore::Next ServerCore::answer(const ConnectionPtr& connection, Reply reply) {
    Connection& c = *connection;
    Exchange* exchange = c.exchange.get();
    if (exchange != nullptr && (reply.stream || reply.take_over)) return answer_stream(connection, reply);
    if (exchange != nullptr && exchange->route != nullptr && exchange->route->body == BodyKind::raw)
        settle_body(c);
    const bool keep_alive = exchange != nullptr && exchange->keep_alive && !stopping_ && !c.linger;
    const bool bodyless = reply.status == 204 || reply.status == 304 || reply.status < 200;
    const std::size_t length = reply.body && !bodyless ? reply.body->size() : 0;
    const std::optional<std::size_t> stated = bodyless ? std::nullopt : std::optional(length);
    try {
        c.out_head = format_head(reply, exchange, stated, false, keep_alive);
    } catch (const std::logic_error& error) {
        if (exchange == nullptr) throw;
        return answer(connection, failure(*exchange, Error(Code::internal, error.what())));
    }
    c.out_sent = 0;
    const bool head_only = exchange != nullptr && exchange->request.method() == "HEAD";
    c.out_body = bodyless || head_only ? nullptr : std::move(reply.body);
    c.close_after = !keep_alive;
    c.stage = Connection::Stage::writing;
    observe(exchange, reply.status);
    return Next::again;
}

ServerCore::Next ServerCore::answer_stream(const ConnectionPtr& connection, const Reply& reply) {
    const auto run = [this, connection, reply] {
        return reply.take_over ? run_take_over(connection, reply) : run_stream(connection, reply);
    };
    // A command that talks to its client is a command still.
    const Lane lane = connection->exchange->route->lane;
    if (lane == Lane::stream || (lane == Lane::command && reply.take_over)) return run();
    return hand_over(connection, Lane::stream, run);
}

ServerCore::Next ServerCore::run_stream(const ConnectionPtr& connection, const Reply& reply) {
    Connection& c = *connection;
    Exchange& exchange = *c.exchange;
    const bool raw = exchange.route->body == BodyKind::raw;
    exchange.keep_alive = exchange.keep_alive && exchange.http11 && !raw && !stopping_;
    StreamWriter writer(c, reply, exchange.keep_alive, options_.limits.write_timeout);
    try {
        reply.stream(writer);
        writer.finish();
    } catch (const StreamWriter::HeadOnly&) {  // the handler's work ends where its body would begin
    } catch (...) {
        const Error error = current_error();
        if (!writer.started()) return answer(connection, failure(exchange, error));
        const bool gone = error.code() == Code::cancelled || exchange.request.client->gone();
        if (!gone) {
            log(LogLevel::warning,
                fmt::format("request {} ({} {}) broke off: {}", exchange.request.id,
                            exchange.request.method(), exchange.request.path(), error.what()));
        }
        observe(&exchange, reply.status);
        // A reset: without chunks, an orderly end would look like the end of the reply.
        const linger abort{1, 0};
        ::setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
        return Next::close;
    }
    observe(&exchange, reply.status);
    c.out_head.clear();
    c.out_body.reset();
    c.out_sent = 0;
    c.close_after = !exchange.keep_alive;
    return finish(c);
}

ServerCore::Next ServerCore::run_take_over(const ConnectionPtr& connection, const Reply& reply) {
    Connection& c = *connection;
    Exchange& exchange = *c.exchange;
    send_waiting(c.fd, format_head(reply, &exchange, std::nullopt, false, true), {}, {},
                 options_.limits.write_timeout);
    observe(&exchange, reply.status);
    c.socket.setBlocking(true);
    try {
        reply.take_over(c.socket, std::exchange(c.in, {}));
    } catch (...) {
        log(LogLevel::warning, fmt::format("request {} ({}) broke off: {}", exchange.request.id,
                                           exchange.request.path(), current_error().what()));
    }
    return Next::close;
}

ServerCore::Next ServerCore::write_output(Connection& connection) {
    switch (send_output(connection)) {
        case Io::done:
            return finish(connection);
        case Io::blocked:
            return Next::park_for_output;
        case Io::ended:
            break;
    }
    return Next::close;
}

// The reply is out: on to the next request.
ServerCore::Next ServerCore::finish(Connection& connection) {
    {
        auto client = connection.client.lock();
        if (*client) (*client)->detach();
        client->reset();
    }
    connection.exchange.reset();
    connection.out_head.clear();
    connection.out_body.reset();
    if (!connection.close_after) {
        connection.stage = Connection::Stage::head;
        return Next::again;
    }
    if (!connection.linger) return Next::close;
    ::shutdown(connection.fd, SHUT_WR);
    connection.body_deadline = Clock::now() + linger_time;
    connection.stage = Connection::Stage::lingering;
    return Next::again;
}

// Without an exchange for what never became a request.
void ServerCore::observe(const Exchange* exchange, int status) const {
    if (!options_.observe) return;
    if (exchange == nullptr) return options_.observe({{}, {}, status, {}});
    const Request& request = exchange->request;
    options_.observe({request.route, request.method(), status, Clock::now() - exchange->started});
}

std::string ServerCore::next_request_id() { return fmt::format("{}-{:x}", id_prefix_, ++next_request_); }

}  // namespace minions::core::http
