#include "core/plugins/in_process.hpp"

#include "core/plugins/host_gate.hpp"

#include <minions/base/sync.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <deque>

namespace minions::core {

std::string unavailable_reply(std::string_view why) {
    const Error error(Code::unavailable, std::string(why), "see the daemon's log", true);
    return to_json(Value::object({{"e", encode_error(error)}}));
}

/// What a plugin gets as its host.
class InProcessTransport::HostPort {
  public:
    explicit HostPort(HostHandler handler) : gate_(std::move(handler)) {
        host_.size = sizeof host_;
        host_.abi_major = MINIONS_ABI_MAJOR;
        host_.abi_minor = MINIONS_ABI_MINOR;
        host_.self = this;
        host_.call = &HostPort::call;
    }

    const minions_host* host() const { return &host_; }

    void close() { gate_.close(); }

  private:
    static void call(void* self, std::uint64_t serves, const char* data, std::size_t size, const int* fds,
                     std::size_t fd_count, minions_reply_fn reply, void* sink) {
        auto* port = static_cast<HostPort*>(self);
        std::vector<Fd> owned;
        owned.reserve(fd_count);
        for (std::size_t i = 0; i < fd_count; ++i) owned.emplace_back(fds[i]);

        Message answer = port->gate_.serve(serves, {data, size}, std::move(owned));
        std::vector<int> given;
        for (auto& fd : answer.fds) given.push_back(fd.release());
        reply(sink, answer.text.data(), answer.text.size(), given.data(), given.size());
    }

    minions_host host_{};
    HostGate gate_;
};

namespace {

/// Ports live as long as the process: plugins have their address.
InProcessTransport::HostPort* keep(std::unique_ptr<InProcessTransport::HostPort> port) {
    static auto& kept = *new Sync<std::deque<std::unique_ptr<InProcessTransport::HostPort>>>;
    return kept.lock()->emplace_back(std::move(port)).get();
}

struct Sink {
    Message message;
    bool replied = false;
};

void take_reply(void* sink, const char* data, std::size_t size, const int* fds, std::size_t fd_count) {
    auto& into = *static_cast<Sink*>(sink);
    std::vector<Fd> owned;
    for (std::size_t i = 0; i < fd_count; ++i) owned.emplace_back(fds[i]);
    if (into.replied) return;  // a plugin that answers twice: the first answer counts
    into.message.text.assign(data, size);
    into.message.fds = std::move(owned);
    into.replied = true;
}

Message finish(Sink& sink) {
    if (!sink.replied) sink.message.text = unavailable_reply("the runtime did not answer a call");
    return std::move(sink.message);
}

}  // namespace

/// What calls under way need; they may outlive the transport.
struct InProcessTransport::Target {
    Target(const minions_plugin& plugin_in, HostPort* port_in) : plugin(plugin_in), port(port_in) {}
    const minions_plugin& plugin;
    HostPort* port;
    std::atomic<void*> self = nullptr;
};

InProcessTransport::InProcessTransport(const minions_plugin& plugin, HostHandler handler)
    : target_(std::make_shared<Target>(plugin, keep(std::make_unique<HostPort>(std::move(handler))))) {}

InProcessTransport::~InProcessTransport() { target_->port->close(); }

void InProcessTransport::open(Message parameters, Reply reply) {
    // Jobs are copied by std::function, messages are not: they go by shared_ptr.
    auto message = std::make_shared<Message>(std::move(parameters));
    threads_.run([target = target_, message, reply = std::move(reply)] {
        Sink sink;
        void* self = nullptr;
        target->plugin.open(target->port->host(), message->text.data(), message->text.size(), &self,
                            &take_reply, &sink);
        target->self = self;
        reply(finish(sink));
    });
}

void InProcessTransport::call(std::uint64_t id, Message request, Reply reply) {
    auto message = std::make_shared<Message>(std::move(request));
    threads_.run([target = target_, id, message, reply = std::move(reply)] {
        void* const self = target->self;
        if (self == nullptr) return reply({unavailable_reply("the runtime has not been opened"), {}});
        std::vector<int> fds;
        fds.reserve(message->fds.size());
        for (auto& fd : message->fds) fds.push_back(fd.release());
        Sink sink;
        target->plugin.call(self, id, message->text.data(), message->text.size(), fds.data(), fds.size(),
                            &take_reply, &sink);
        reply(finish(sink));
    });
}

void InProcessTransport::give_up(std::string_view) noexcept {
    // A thread cannot be ended from outside without breaking the locks it holds; it stays with the plugin.
}

}  // namespace minions::core
