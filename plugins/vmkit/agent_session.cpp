#include "plugins/vmkit/agent_session.hpp"

#include <minions/base/id.hpp>

namespace minions::vmkit {

using namespace agent;

namespace {
constexpr auto reset_pause = std::chrono::milliseconds(250);
}

void AgentRequest::finish(std::string lost, Fields end) {
    {
        const auto now = result.lock();
        if (now->over) return;
        now->over = true;
        now->lost = std::move(lost);
        now->end = std::move(end);
    }
    changed.raise();
}

AgentSession::AgentSession(Loop& loop, Fd transport, bool reset, Events events)
    : link_(loop, std::move(transport),
            {[this](const FrameHead& head, std::string_view payload) { on_frame(head, payload); },
             [this](const std::string& reason) { events_.lost(reason); }}),
      events_(std::move(events)) {
    if (!reset) return;
    nonce_.resize(nonce_bytes);
    random_bytes(nonce_.data(), nonce_.size());
    link_.seek(nonce_);
    send_reset();
}

/// Until it is answered: what a guest has not read when it closes its port is lost, and it does not learn of
/// that. A guest that has not opened it yet gets one, since the link is not idle until then.
void AgentSession::send_reset() {
    if (link_.idle()) {
        link_.send_raw(make_flush());
        link_.send(FrameType::reset, 0, Fields().add(tag::nonce, nonce_));
    }
    reset_timer_ = link_.loop().after(reset_pause, [this] { send_reset(); });
}

void AgentSession::reset_answered() {
    if (reset_timer_) link_.loop().cancel(*reset_timer_);
    reset_timer_.reset();
}

AgentSession::~AgentSession() {
    reset_answered();
    for (auto& [stream, request] : requests_) {
        request->sends_.reset();
        for (auto& receive : request->receives_) receive.reset();
        request->finish("the session with the guest's agent was lost", {});
    }
}

void AgentSession::on_hello(std::string_view payload) {
    reset_answered();
    const Fields hello = Fields::parse(payload);
    const auto version = hello.number(tag::version);
    if (!version || *version < 1) throw ProtocolError("the agent's hello names no version");
    version_ = hello.text(tag::software).value_or("");
    std::string random(4, '\0');
    random_bytes(random.data(), random.size());
    const std::uint32_t epoch = get_u32(random.data()) | 1U;  // 0 is nobody's
    Fields welcome;
    welcome.add_number(tag::version, std::min(*version, protocol_version));
    welcome.add_number(tag::epoch, epoch);
    link_.send(FrameType::welcome, 0, welcome);
    link_.set_epoch(epoch);
    // A second hello on a byte channel: the agent was started anew, and knows nothing of what was asked.
    auto old = std::move(requests_);
    requests_.clear();
    for (auto& [stream, request] : old) {
        request->sends_.reset();
        for (auto& receive : request->receives_) receive.reset();
        request->finish("the guest's agent was restarted", {});
    }
    welcomed_ = true;
    events_.welcomed();
}

void AgentSession::on_frame(const FrameHead& head, std::string_view payload) {
    if (head.type == FrameType::hello) return on_hello(payload);
    if (!welcomed_ || head.epoch != link_.epoch()) return;
    const auto request = requests_.find(head.stream);
    // Frames for a request that is over cross its cancellation on the way.
    if (request != requests_.end()) to_request(AgentRequestPtr(request->second), head, payload);
}

void AgentSession::to_request(const AgentRequestPtr& request, const FrameHead& head,
                              std::string_view payload) {
    const bool is_output = head.channel == channel_output || head.channel == channel_error;
    auto& receive = request->receives_[head.channel == channel_error ? 1 : 0];
    switch (head.type) {
        case FrameType::data:
            if (is_output && receive) receive->take(payload);
            return;
        case FrameType::eof:
            if (is_output && receive) receive->end();
            return;
        case FrameType::stop:
            if (request->sends_) request->sends_->stop();
            return;
        case FrameType::window:
            if (payload.size() != 4) throw ProtocolError("a window frame has the wrong size");
            if (request->sends_) request->sends_->grant(get_u32(payload.data()));
            return;
        case FrameType::control:
            request->result.lock()->opened = true;
            request->changed.raise();
            return;
        case FrameType::end: {
            request->ended_ = Fields::parse(payload);
            if (request->sends_) request->sends_->stop();
            // An end without all eofs: what is missing will not come.
            for (auto& each : request->receives_)
                if (each) each->end();
            return end_if_over(head.stream);
        }
        default:
            throw ProtocolError("a frame goes the wrong way");
    }
}

/// Over once the agent has said so and all that it sent has been written.
void AgentSession::end_if_over(std::uint32_t stream) {
    const auto found = requests_.find(stream);
    if (found == requests_.end() || !found->second->ended_) return;
    for (const auto& receive : found->second->receives_)
        if (receive && receive->open()) return;
    ended_ = found->second;
    requests_.erase(found);
    ended_->finish({}, *ended_->ended_);
}

void AgentSession::begin(const AgentRequestPtr& request) {
    const std::uint32_t stream = ++last_stream_;
    Fields fields = request->fields;
    fields.add_number(tag::method, static_cast<std::int64_t>(request->method));
    link_.send(FrameType::request, stream, fields);
    requests_.emplace(stream, request);
    const auto receive = [&](std::size_t at, std::uint8_t channel, Fd to) {
        request->receives_[at].emplace(link_, ChannelId{stream, channel}, std::move(to), [this, stream, at] {
            // Nobody reads what the command writes: that ends it.
            const auto found = requests_.find(stream);
            if (found == requests_.end()) return;
            if (found->second->receives_[at]->refused() && !found->second->ended_)
                link_.send(FrameType::cancel, stream, Fields());
            end_if_over(stream);
        });
    };
    if (request->output) receive(0, channel_output, std::move(request->output));
    if (request->error) receive(1, channel_error, std::move(request->error));
    if (request->input)
        request->sends_.emplace(link_, ChannelId{stream, channel_input}, std::move(request->input), [] {});
}

std::uint32_t AgentSession::stream_of(const AgentRequestPtr& request) const {
    for (const auto& [stream, each] : requests_)
        if (each == request) return stream;
    return 0;
}

void AgentSession::control(const AgentRequestPtr& request, const Fields& fields) {
    if (const std::uint32_t stream = stream_of(request)) link_.send(FrameType::control, stream, fields);
}

void AgentSession::cancel(const AgentRequestPtr& request) {
    if (const std::uint32_t stream = stream_of(request)) link_.send(FrameType::cancel, stream, Fields());
}

}  // namespace minions::vmkit
