#include "session.hpp"

#include "exec.hpp"
#include "files.hpp"
#include "forward.hpp"
#include "machine.hpp"

#include <system_error>

namespace minions::agent {

namespace {
constexpr std::size_t most_tasks = 1024;
}

Session::Session(Loop& loop, Machine& machine, Fd fd, Transport transport,
                 std::function<void(const std::string&)> lost)
    : machine_(machine),
      link_(loop, std::move(fd),
            {[this](const FrameHead& head, std::string_view payload) { on_frame(head, payload); },
             std::move(lost)}) {
    if (transport == Transport::bytes) link_.send_raw(make_flush());
    greet();
}

Session::~Session() = default;

void Session::greet() {
    Fields hello;
    hello.add_number(tag::version, protocol_version);
    hello.add(tag::software, machine_.software);
    hello.add(tag::boot_id, machine_.boot_id);
    link_.send(FrameType::hello, 0, hello);
}

void Session::on_frame(const FrameHead& head, std::string_view payload) {
    if (head.type == FrameType::reset) return on_reset(payload);
    if (head.type == FrameType::welcome) return on_welcome(payload);
    // Of a conversation that is over, or of a peer that has not answered our hello yet.
    if (!welcomed_ || head.epoch != link_.epoch()) return;
    if (head.type == FrameType::request) return on_request(head.stream, payload);
    const auto task = tasks_.find(head.stream);
    // Frames for a task that has ended meanwhile cross its `end` on the way.
    if (task != tasks_.end()) to_task(*task->second, head, payload);
}

void Session::on_reset(std::string_view payload) {
    const Fields fields = Fields::parse(payload);
    const auto nonce = fields.text(tag::nonce);
    if (!nonce || nonce->size() != nonce_bytes) throw ProtocolError("a reset comes without its nonce");
    if (*nonce == last_nonce_) return;  // repeated while our answer was on its way
    last_nonce_ = *nonce;
    tasks_.clear();
    machine_.thaw();
    link_.drop_queue();
    link_.set_epoch(0);
    welcomed_ = false;
    link_.send(FrameType::reset_done, 0, Fields().add(tag::nonce, *nonce));
    greet();
}

void Session::on_welcome(std::string_view payload) {
    const Fields fields = Fields::parse(payload);
    const auto version = fields.number(tag::version);
    const auto epoch = fields.number(tag::epoch);
    if (!version || *version < 1 || *version > protocol_version || !epoch)
        throw ProtocolError("the host speaks another version of the protocol");
    tasks_.clear();
    link_.set_epoch(static_cast<std::uint32_t>(*epoch));
    welcomed_ = true;
}

void Session::on_request(std::uint32_t stream, std::string_view payload) {
    const Fields fields = Fields::parse(payload);
    if (stream == 0 || tasks_.find(stream) != tasks_.end())
        throw ProtocolError("a request has no stream of its own");
    try {
        if (tasks_.size() >= most_tasks)
            throw Refusal{End::refused, "this machine runs as many requests as it can"};
        if (auto task = begin(stream, fields)) tasks_.emplace(stream, std::move(task));
    } catch (const Refusal& refusal) {
        link_.send(FrameType::end, stream, ended(refusal.how, refusal.message));
    } catch (const std::system_error& error) {
        link_.send(FrameType::end, stream, ended(End::failed, error.what()));
    }
}

std::unique_ptr<Task> Session::begin(std::uint32_t stream, const Fields& fields) {
    switch (static_cast<Method>(fields.number(tag::method).value_or(0))) {
        case Method::exec:
            return begin_exec(*this, stream, fields);
        case Method::read_files:
            return begin_read_files(*this, stream, fields);
        case Method::write_files:
            return begin_write_files(*this, stream, fields);
        case Method::forward:
            return begin_forward(*this, stream, fields);
        default:
            break;
    }
    link_.send(FrameType::end, stream, machine_.answer(fields));
    return nullptr;
}

void Session::to_task(Task& task, const FrameHead& head, std::string_view payload) {
    switch (head.type) {
        case FrameType::data:
            return task.data(head.channel, payload);
        case FrameType::eof:
            return task.eof(head.channel);
        case FrameType::stop:
            return task.stop(head.channel);
        case FrameType::control:
            return task.control(Fields::parse(payload));
        case FrameType::cancel:
            return task.cancel();
        case FrameType::window:
            if (payload.size() != 4) throw ProtocolError("a window frame has the wrong size");
            return task.grant(head.channel, get_u32(payload.data()));
        default:
            throw ProtocolError("a frame goes the wrong way");
    }
}

void Session::end(std::uint32_t stream, const Fields& how) {
    const auto task = tasks_.find(stream);
    if (task == tasks_.end()) return;
    ended_ = std::move(task->second);
    tasks_.erase(task);
    link_.send(FrameType::end, stream, how);
}

}  // namespace minions::agent
