#include "forward.hpp"

#include <minions/agent/pipes.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>
#include <system_error>

namespace minions::agent {

namespace {

class Forward final : public Task {
  public:
    Forward(Session& session, std::uint32_t stream, int port)
        : session_(session), stream_(stream), port_(port) {
        dial(AF_INET);
    }
    ~Forward() override {
        if (dialling_) session_.link().loop().forget(dialling_.get());
    }

    void data(std::uint8_t channel, std::string_view bytes) override {
        if (channel == channel_input && input_) input_->take(bytes);
    }
    void eof(std::uint8_t channel) override {
        if (channel == channel_input && input_) input_->end();
    }
    void grant(std::uint8_t channel, std::uint32_t bytes) override {
        if (channel == channel_output && output_) output_->grant(bytes);
    }
    void stop(std::uint8_t channel) override {
        if (channel == channel_output && output_) output_->stop();
    }
    void cancel() override { session_.end(stream_, ended(End::cancelled)); }

  private:
    void dial(int family) {
        family_ = family;
        dialling_.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!dialling_) throw std::system_error(errno, std::generic_category(), "cannot make a socket");
        const int on = 1;
        ::setsockopt(dialling_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_storage address{};
        socklen_t size = 0;
        if (family == AF_INET) {
            auto& v4 = reinterpret_cast<sockaddr_in&>(address);
            v4 = {AF_INET, htons(static_cast<std::uint16_t>(port_)), {htonl(INADDR_LOOPBACK)}, {}};
            size = sizeof v4;
        } else {
            auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
            v6.sin6_family = AF_INET6;
            v6.sin6_port = htons(static_cast<std::uint16_t>(port_));
            v6.sin6_addr = in6addr_loopback;
            size = sizeof v6;
        }
        const int result = ::connect(dialling_.get(), reinterpret_cast<sockaddr*>(&address), size);
        if (result != 0 && errno != EINPROGRESS && errno != ECONNREFUSED)
            throw std::system_error(errno, std::generic_category(), "cannot connect");
        session_.link().loop().watch(dialling_.get(), EPOLLOUT, [this](std::uint32_t) { dialled(); });
    }

    void dialled() {
        int error = 0;
        socklen_t size = sizeof error;
        ::getsockopt(dialling_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        session_.link().loop().forget(dialling_.get());
        Fd connection = std::move(dialling_);
        try {
            if (error == 0) return connected(std::move(connection));
            if (family_ == AF_INET) return dial(AF_INET6);  // a server that listens on ::1 alone
        } catch (const std::system_error& failure) {
            error = failure.code().value();
        }
        session_.end(stream_, ended(End::refused, "nobody listens on port " + std::to_string(port_) + ": " +
                                                      std::strerror(error)));
    }

    void connected(Fd connection) {
        Link& link = session_.link();
        link.send(FrameType::control, stream_, Fields());
        const auto over = [this] {
            if (!input_->open() && !output_->open()) session_.end(stream_, ended(End::done));
        };
        Fd copy = duplicate(connection.get());
        input_.emplace(link, ChannelId{stream_, channel_input}, std::move(copy), over);
        output_.emplace(link, ChannelId{stream_, channel_output}, std::move(connection), over);
    }

    Session& session_;
    std::uint32_t stream_;
    int port_;
    int family_ = AF_INET;
    Fd dialling_;
    std::optional<Inlet> input_;
    std::optional<Outlet> output_;
};

}  // namespace

std::unique_ptr<Task> begin_forward(Session& session, std::uint32_t stream, const Fields& fields) {
    const auto port = fields.number(tag::port).value_or(0);
    if (port < 1 || port > 65535) throw Refusal{End::refused, "the port must be from 1 to 65535"};
    return std::make_unique<Forward>(session, stream, static_cast<int>(port));
}

}  // namespace minions::agent
