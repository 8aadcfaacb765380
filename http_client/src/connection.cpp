#include "connection.hpp"

#include "socket.hpp"

#include <minions/error.hpp>

#include <Poco/Exception.h>
#include <Poco/Net/HTTPRequest.h>
#include <Poco/Net/HTTPResponse.h>
#include <Poco/String.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <sstream>

namespace minions::http {
namespace {

constexpr std::size_t most_head = 65536;
constexpr std::size_t most_line = 4096;
constexpr std::size_t piece = 65536;

bool is_token(std::string_view text) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               marks.find(c) != std::string_view::npos;
    });
}

bool has_control(std::string_view text, bool space_too) {
    return std::any_of(text.begin(), text.end(), [=](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return (byte < 0x20 && byte != '\t') || byte == 0x7f || (space_too && (byte == ' ' || byte == '\t'));
    });
}

/// Poco writes what it is given, line breaks too.
void check(const Request& request) {
    if (!is_token(request.method)) throw Error{Code::invalid, "the method of a request is not a word"};
    if (request.target.empty() || has_control(request.target, true)) {
        throw Error{Code::invalid, "the target of a request is empty or holds spaces or control characters",
                    "percent-encode them"};
    }
    for (const auto& [name, value] : request.headers) {
        if (!is_token(name) || has_control(value, false)) {
            throw Error{Code::invalid, "the header '" + name + "' of a request holds forbidden characters"};
        }
    }
}

std::string write_head(const Request& request, const std::string& host) {
    Poco::Net::HTTPRequest head(request.method, request.target, Poco::Net::HTTPMessage::HTTP_1_1);
    for (const auto& [name, value] : request.headers) head.add(name, value);
    if (!head.has("Host")) head.setHost(host);
    if (!head.has("User-Agent")) head.set("User-Agent", "minions");
    head.erase("Content-Length");
    head.erase("Transfer-Encoding");
    if (request.source) {
        head.setChunkedTransferEncoding(true);
    } else if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
        head.setContentLength64(static_cast<Poco::Int64>(request.body.size()));
    }
    std::ostringstream text;
    head.write(text);
    return text.str();
}

}  // namespace

Connection::Connection(Fd fd, std::string where, bool reused)
    : fd_(std::move(fd)), where_(std::move(where)), reused_(reused) {}

void Connection::closed_early() const {
    throw Error{Code::unavailable, where_ + " closed the connection in the middle of a reply", "try again",
                true};
}

void Connection::senseless(const std::string& what) const {
    throw Error{Code::internal, where_ + " sent " + what};
}

bool Connection::idle() const {
    pollfd entry{fd_.get(), POLLIN, 0};
    return poll_until(&entry, 1, Deadline::min()) == 0 && buffered().empty();
}

Hijacked Connection::hijack() {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) {
        throw error_from_errno(errno, "cannot take over a connection");
    }
    return {std::move(fd_), std::string(buffered())};
}

/// Returns false if sending makes no sense any more, because the server closed its side or has answered with
/// a failure already: its reply says why.
bool Connection::send(std::string_view data, bool first) {
    while (!data.empty()) {
        const ssize_t sent = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            data.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) {
            keep_ = false;
            return false;
        }
        const bool watch = !first && !head_waits_;
        await(fd_.get(), static_cast<short>(POLLOUT | (watch ? POLLIN : 0)), call_, where_);
        pollfd entry{fd_.get(), POLLIN, 0};
        if (!watch || poll_until(&entry, 1, Deadline::min()) == 0) continue;
        if (!fill()) return false;
        head_waits_ = true;
        // "HTTP/1.1 4xx": it does not want the rest. A reply that begins well is read after the body.
        const std::string_view text = buffered();
        if (text.size() > 9 && text[9] >= '3') return false;
    }
    return true;
}

void Connection::send_source(const BodySource& source) {
    constexpr std::size_t room = 10;  // of a chunk's length and line break
    std::string chunk(room + piece + 2, '\0');
    for (;;) {
        if (std::chrono::steady_clock::now() >= call_.deadline) await(-1, 0, call_, where_);
        const std::size_t size = source(chunk.data() + room, piece);
        if (size == 0) break;
        char length[room + 1];
        const int digits = std::snprintf(length, sizeof length, "%zx\r\n", std::min(size, piece));
        char* start = chunk.data() + room - digits;
        std::memcpy(start, length, static_cast<std::size_t>(digits));
        std::memcpy(chunk.data() + room + size, "\r\n", 2);
        if (!send({start, static_cast<std::size_t>(digits) + size + 2}, false)) {
            keep_ = false;
            return;
        }
    }
    if (!send("0\r\n\r\n", false)) keep_ = false;
}

Response Connection::exchange(const Request& request, const std::string& host, const Call& call) {
    check(request);
    call_ = call;
    keep_ = true;
    upgraded_ = false;
    head_waits_ = false;
    std::string head = write_head(request, host);
    // Small requests leave in one packet.
    const bool together = !request.source && request.body.size() <= piece;
    if (together) head += request.body;
    bool complete = send(head, true);
    if (complete && request.source) {
        send_source(request.source);
    } else if (complete && !together) {
        complete = send(request.body, false);
    }
    if (!complete) keep_ = false;
    return read_response(request.method);
}

std::size_t Connection::receive(char* data, std::size_t size) {
    for (;;) {
        // Also when there is something to read: a server that never pauses must not outlast deadline and
        // cancellation.
        if (std::chrono::steady_clock::now() >= call_.deadline) await(-1, 0, call_, where_);
        await(fd_.get(), POLLIN, call_, where_);
        const ssize_t got = ::recv(fd_.get(), data, size, 0);
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EAGAIN && errno != EINTR) return 0;  // a reset is an early end
    }
}

bool Connection::fill() {
    buffer_.erase(0, at_);
    at_ = 0;
    const std::size_t have = buffer_.size();
    constexpr std::size_t step = 16384;
    buffer_.resize(have + step);
    std::size_t got = 0;
    try {
        got = receive(buffer_.data() + have, step);
    } catch (...) {
        buffer_.resize(have);
        throw;
    }
    buffer_.resize(have + got);
    return got > 0;
}

std::string Connection::read_head() {
    std::size_t looked = 0;
    for (;;) {
        const std::size_t end = buffered().find("\r\n\r\n", looked);
        if (end != std::string_view::npos && end <= most_head) {
            std::string head(buffered().substr(0, end + 4));
            at_ += end + 4;
            return head;
        }
        if (buffered().size() > most_head) senseless("a head of more than 64 KiB");
        looked = std::max<std::size_t>(buffered().size(), 3) - 3;
        if (fill()) continue;
        if (buffered().empty()) throw ClosedBeforeReply{};
        closed_early();
    }
}

Response Connection::read_response(const std::string& method) {
    for (;;) {
        std::istringstream text(read_head());
        Poco::Net::HTTPResponse parsed;
        try {
            parsed.read(text);
        } catch (const Poco::Exception&) {
            senseless("what is no HTTP response");
        }
        Response head;
        head.status = static_cast<int>(parsed.getStatus());
        if (head.status < 100 || head.status > 999) senseless("a response without a status");
        if (head.status < 200 && head.status != 101) continue;
        head.reason = parsed.getReason();
        for (const auto& [name, value] : parsed) head.headers.emplace_back(name, value);
        if (!parsed.getKeepAlive()) keep_ = false;
        choose_mode(head, method);
        return head;
    }
}

void Connection::choose_mode(const Response& head, const std::string& method) {
    mode_ = Mode::none;
    if (head.status == 101) {
        upgraded_ = true;
        keep_ = false;
        return;
    }
    if (method == "HEAD" || head.status == 204 || head.status == 304) return;
    const std::string_view coding = head.header("Transfer-Encoding");
    if (!coding.empty()) {
        if (Poco::icompare(std::string(coding), "chunked") != 0) senseless("a body in an unknown coding");
        mode_ = Mode::chunked;
        left_ = 0;
        first_chunk_ = true;
        return;
    }
    const std::string_view length = head.header("Content-Length");
    if (length.empty()) {
        mode_ = Mode::until_close;
        keep_ = false;
        return;
    }
    if (length.size() > 18 || length.find_first_not_of("0123456789") != std::string_view::npos) {
        senseless("a wrong Content-Length");
    }
    left_ = std::stoull(std::string(length));
    mode_ = left_ == 0 ? Mode::none : Mode::length;
}

std::string Connection::read_line(std::size_t max) {
    for (;;) {
        const std::size_t end = buffered().find('\n');
        if (end != std::string_view::npos) {
            std::string line(buffered().substr(0, end));
            at_ += end + 1;
            if (!line.empty() && line.back() == '\r') line.pop_back();
            return line;
        }
        if (buffered().size() > max) senseless("a line without an end");
        if (!fill()) closed_early();
    }
}

void Connection::next_chunk() {
    if (!first_chunk_ && !read_line(most_line).empty()) senseless("a chunk that is longer than it says");
    first_chunk_ = false;
    std::string line = read_line(most_line);
    line.resize(std::min(line.find_first_of("; \t"), line.size()));
    if (line.empty() || line.size() > 15 ||
        line.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        senseless("a chunk without a length");
    }
    left_ = std::stoull(line, nullptr, 16);
    if (left_ > 0) return;
    std::size_t trailers = 0;
    for (std::string trailer = read_line(most_line); !trailer.empty(); trailer = read_line(most_line)) {
        trailers += trailer.size();
        if (trailers > most_head) senseless("trailers of more than 64 KiB");
    }
    mode_ = Mode::none;
}

std::size_t Connection::read_body(char* data, std::size_t size) {
    if (mode_ == Mode::none || size == 0) return 0;
    if (mode_ == Mode::chunked && left_ == 0) {
        next_chunk();
        if (mode_ == Mode::none) return 0;
    }
    if (mode_ != Mode::until_close) size = static_cast<std::size_t>(std::min<std::uint64_t>(size, left_));
    std::size_t got = std::min(size, buffered().size());
    if (got > 0) {
        std::memcpy(data, buffer_.data() + at_, got);
        at_ += got;
    } else {
        got = receive(data, size);
    }
    if (mode_ == Mode::until_close) {
        if (got == 0) mode_ = Mode::none;
        return got;
    }
    if (got == 0) closed_early();
    left_ -= got;
    if (mode_ == Mode::length && left_ == 0) mode_ = Mode::none;
    return got;
}

}  // namespace minions::http
