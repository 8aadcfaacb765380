#include "core/http/connection.hpp"

#include <Poco/DateTimeFormat.h>
#include <Poco/DateTimeFormatter.h>
#include <Poco/Net/HTTPResponse.h>
#include <Poco/Net/StreamSocketImpl.h>
#include <fmt/format.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <sstream>
#include <stdexcept>

namespace minions::core::http {
namespace {

constexpr std::size_t read_size = 16 << 10;

[[noreturn]] void client_gone(const char* why) { throw Error(Code::cancelled, why); }

// RFC 7231 dates change once a second.
const std::string& http_date() {
    thread_local std::time_t made_for = 0;
    thread_local std::string text;
    const std::time_t now = std::time(nullptr);
    if (now != made_for) {
        text = Poco::DateTimeFormatter::format(Poco::Timestamp::fromEpochTime(now),
                                               Poco::DateTimeFormat::HTTP_FORMAT);
        made_for = now;
    }
    return text;
}

void check_header(const std::string& name, const std::string& value) {
    for (const std::string* part : {&name, &value}) {
        if (part->find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
            throw std::logic_error("a reply header holds a line break");
        }
    }
}

bool wait_for(int fd, short events, std::chrono::milliseconds timeout) {
    pollfd entry{fd, events, 0};
    int result = 0;
    do {
        result = ::poll(&entry, 1, static_cast<int>(timeout.count()));
    } while (result < 0 && errno == EINTR);
    return result > 0;
}

}  // namespace

Connection::Connection(std::uint64_t number, Fd accepted)
    : id(number),
      // The implementation owns the descriptor from here on.
      socket(new Poco::Net::StreamSocketImpl(accepted.get())),
      fd(accepted.release()),
      peer(std::make_shared<Peer>(peer_of(fd))) {}

Connection::~Connection() {
    if (const auto current = *client.lock()) current->detach();
}

Io receive(Connection& connection) {
    thread_local std::array<char, read_size> buffer;
    for (;;) {
        const ssize_t got = ::recv(connection.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got > 0) {
            connection.in.append(buffer.data(), static_cast<std::size_t>(got));
            return Io::done;
        }
        if (got < 0 && errno == EINTR) continue;
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? Io::blocked : Io::ended;
    }
}

Io send_output(Connection& connection) {
    const std::string& head = connection.out_head;
    const std::size_t body_size = connection.out_body ? connection.out_body->size() : 0;
    while (connection.out_sent < head.size() + body_size) {
        iovec parts[2];
        std::size_t count = 0;
        std::size_t skip = connection.out_sent;
        if (skip < head.size()) {
            parts[count++] = {const_cast<char*>(head.data()) + skip, head.size() - skip};
            skip = 0;
        } else {
            skip -= head.size();
        }
        if (body_size > skip)
            parts[count++] = {const_cast<char*>(connection.out_body->data()) + skip, body_size - skip};
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = count;
        const ssize_t sent = ::sendmsg(connection.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN || errno == EWOULDBLOCK ? Io::blocked : Io::ended;
        }
        connection.out_sent += static_cast<std::size_t>(sent);
    }
    return Io::done;
}

void send_waiting(int fd, std::string_view first, std::string_view second, std::string_view third,
                  std::chrono::milliseconds timeout) {
    std::array<std::string_view, 3> pieces{first, second, third};
    for (;;) {
        iovec parts[3];
        std::size_t count = 0;
        for (const auto piece : pieces) {
            if (!piece.empty()) parts[count++] = {const_cast<char*>(piece.data()), piece.size()};
        }
        if (count == 0) return;
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = count;
        const ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) client_gone("the client is gone");
            if (!wait_for(fd, POLLOUT, timeout)) client_gone("the client does not read the reply");
            continue;
        }
        auto left = static_cast<std::size_t>(sent);
        for (auto& piece : pieces) {
            const std::size_t used = std::min(left, piece.size());
            piece.remove_prefix(used);
            left -= used;
        }
    }
}

std::string format_head(const Reply& reply, const Exchange* exchange, std::optional<std::size_t> length,
                        bool chunked, bool keep_alive) {
    Poco::Net::HTTPResponse head(Poco::Net::HTTPMessage::HTTP_1_1,
                                 static_cast<Poco::Net::HTTPResponse::HTTPStatus>(reply.status));
    head.set("Date", http_date());
    if (!reply.content_type.empty()) head.set("Content-Type", reply.content_type);
    if (length) head.set("Content-Length", std::to_string(*length));
    if (chunked) head.set("Transfer-Encoding", "chunked");
    if (exchange != nullptr) head.set("X-Request-Id", exchange->request.id);
    if (reply.take_over) {
        head.set("Connection", "Upgrade");
    } else if (!keep_alive) {
        head.set("Connection", "close");
    } else if (exchange != nullptr && !exchange->http11) {
        head.set("Connection", "keep-alive");
    }
    for (const auto& [name, value] : reply.headers) {
        check_header(name, value);
        head.add(name, value);
    }
    thread_local std::ostringstream out;
    out.str({});
    out.clear();
    head.write(out);
    return out.str();
}

StreamWriter::StreamWriter(Connection& connection, const Reply& reply, bool keep_alive,
                           std::chrono::milliseconds timeout)
    : connection_(connection),
      head_(format_head(reply, connection.exchange.get(), std::nullopt, connection.exchange->http11,
                        keep_alive)),
      chunked_(connection.exchange->http11),
      head_only_(connection.exchange->request.method() == "HEAD"),
      timeout_(timeout) {}

void StreamWriter::start() {
    if (std::exchange(started_, true)) return;
    send_waiting(connection_.fd, head_, {}, {}, timeout_);
    if (head_only_) throw HeadOnly();
}

void StreamWriter::write(std::string_view data) {
    start();
    if (data.empty()) return;  // an empty chunk would be the last
    if (!chunked_) return send_waiting(connection_.fd, data, {}, {}, timeout_);
    send_waiting(connection_.fd, fmt::format("{:x}\r\n", data.size()), data, "\r\n", timeout_);
}

void StreamWriter::finish() {
    start();
    if (chunked_) send_waiting(connection_.fd, "0\r\n\r\n", {}, {}, timeout_);
}

std::size_t RawReader::read(char* into, std::size_t size) {
    Exchange& exchange = *connection_.exchange;
    std::string out;
    while (!exchange.decoder.done() && size > 0) {
        const std::size_t used = exchange.decoder.feed(connection_.in, out, size);
        connection_.in.erase(0, used);
        if (!out.empty()) break;
        if (used > 0) continue;
        if (std::exchange(exchange.expects_continue, false)) {
            send_waiting(connection_.fd, "HTTP/1.1 100 Continue\r\n\r\n", {}, {}, limits_.write_timeout);
        }
        switch (receive(connection_)) {
            case Io::done:
                break;
            case Io::ended:
                client_gone("the client closed the connection before the end of its body");
            case Io::blocked:
                if (!wait_for(connection_.fd, POLLIN, limits_.body_timeout)) {
                    throw Error(Code::deadline, "the client stopped sending its body");
                }
        }
    }
    out.copy(into, out.size());
    return out.size();
}

}  // namespace minions::core::http
