#include "plugins/qemu/qmp.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace minions::qemu {

namespace {

constexpr std::size_t most_document = std::size_t{16} << 20U;

[[noreturn]] void gone() { throw Error{Code::unavailable, "QEMU does not answer on its monitor", "", true}; }

}  // namespace

Qmp::Qmp(const Context& ctx, const std::string& path)
    : ctx_(ctx), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    if (!socket_ || UnixAddress(path).connect(socket_.get()) != 0) gone();
    receive();  // the greeting
    run("qmp_capabilities");
}

void Qmp::send(const std::string& text, int pass) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (pass >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(head), &pass, sizeof pass);
    }
    while (part.iov_len > 0) {
        ctx_.check();
        const ssize_t put = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
        if (put > 0) {
            part.iov_base = static_cast<char*>(part.iov_base) + put;
            part.iov_len -= static_cast<std::size_t>(put);
            message.msg_control = nullptr;
            message.msg_controllen = 0;
        } else if (errno == EAGAIN) {
            pollfd fds[] = {{socket_.get(), POLLOUT, 0}, {ctx_.cancel_fd(), POLLIN, 0}};
            poll_until(fds, 2, ctx_.deadline());
        } else if (errno != EINTR) {
            gone();
        }
    }
}

std::optional<Value> Qmp::receive(SteadyTime until) {
    for (;;) {
        const auto end = unread_.find('\n');
        if (end != std::string::npos) {
            const std::string line = unread_.substr(0, end);
            unread_.erase(0, end + 1);
            return parse_json(line);
        }
        if (unread_.size() > most_document) gone();
        ctx_.check();
        std::array<char, 16 << 10> buffer;
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got > 0) {
            unread_.append(buffer.data(), static_cast<std::size_t>(got));
        } else if (got < 0 && errno == EAGAIN) {
            pollfd fds[] = {{socket_.get(), POLLIN, 0}, {ctx_.cancel_fd(), POLLIN, 0}};
            const bool over = poll_until(fds, 2, std::min(ctx_.deadline(), until)) == 0;
            if (over && until < ctx_.deadline()) return std::nullopt;
        } else if (got == 0 || errno != EINTR) {
            gone();
        }
    }
}

Value Qmp::run(const char* command, Value arguments, int pass) {
    send(to_json(Value::object({{"execute", command}, {"arguments", std::move(arguments)}})) + "\n", pass);
    for (;;) {
        Value reply = *receive();
        if (const Value* result = reply.find("return")) return *result;
        if (const Value* error = reply.find("error"))
            throw Error{Code::failed, fmt::format("QEMU refuses '{}': {}", command,
                                                  (*error)["desc"].string_or("it gives no reason"))};
        if (reply.find("event") != nullptr) events_.push_back(std::move(reply));
    }
}

bool Qmp::wait_for(const std::function<bool(const Value& event)>& wanted, SteadyTime until) {
    for (;;) {
        while (events_.empty()) {
            std::optional<Value> next = receive(until);
            if (!next) return false;
            if (next->find("event") != nullptr) events_.push_back(std::move(*next));
        }
        const Value event = std::move(events_.front());
        events_.pop_front();
        if (wanted(event)) return true;
    }
}

}  // namespace minions::qemu
