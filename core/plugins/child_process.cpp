#include "core/plugins/child_process.hpp"

#include <minions/error.hpp>
#include <minions/seam.hpp>

#include <fmt/format.h>

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <system_error>

namespace minions::core {
namespace {

using std::chrono::milliseconds;

constexpr int socket_in_child = 3;
/// The open request has an id of its own; calls count up from 1.
constexpr std::uint64_t open_id = ~std::uint64_t{0};

std::vector<std::string> own_environment() {
    std::vector<std::string> all;
    for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
    return all;
}

Process start(const ChildOptions& options, Fd socket) {
    SpawnOptions spawned;
    spawned.argv = {options.program};
    spawned.argv.insert(spawned.argv.end(), options.arguments.begin(), options.arguments.end());
    spawned.argv.push_back(options.plugin);
    spawned.argv.push_back(std::to_string(socket_in_child));
    spawned.env = own_environment();
    spawned.out = Stdio::inherit();
    spawned.err = Stdio::inherit();
    spawned.fds.emplace_back(socket_in_child, std::move(socket));
    spawned.no_new_privs = false;  // it does what the daemon would do
    try {
        return spawn(std::move(spawned));
    } catch (const std::system_error& error) {
        throw Error(Code::unavailable,
                    fmt::format("cannot start a process for the plugin: {}", error.what()));
    }
}

}  // namespace

ChildTransport::ChildTransport(ChildOptions options, HostHandler handler)
    : options_(std::move(options)), host_(std::make_shared<HostGate>(std::move(handler))) {
    auto pair = make_socketpair(SOCK_STREAM);
    link_ = std::make_shared<SocketLink>(
        std::move(pair.first),
        [this](FrameKind kind, std::uint64_t id, std::uint64_t serves, Message message) {
            if (kind == FrameKind::host) serve(id, serves, std::move(message));
        });
    process_ = start(options_, std::move(pair.second));
    receiver_ = std::thread([this] {
        link_->receive([this] { explain_end(); });
        if (ending_) return;
        const seam::Request changed{seam::host_method::health_changed, Value::object(), std::nullopt};
        host_->serve(0, to_json(encode(changed)), {});
    });
}

ChildTransport::~ChildTransport() {
    ending_ = true;
    link_->shut_down();
    host_->close();
    receiver_.join();
}

void ChildTransport::explain_end() {
    if (ending_) return;
    try {
        // A child whose socket closed is about to end; one that is not lost its mind.
        auto status = process_.wait(deadline_in(milliseconds(200)));
        if (!status) {
            process_.kill(SIGKILL);
            status = process_.wait(deadline_in(milliseconds(1000)));
        }
        if (status && !given_up_) {
            *ended_by_.lock() = status;
            link_->set_reason(fmt::format("the process of the runtime ended ({}); restart the daemon",
                                          status->to_string()));
        }
    } catch (const std::system_error&) {
        // What it ended of is not known; that it ended is.
    }
}

void ChildTransport::serve(std::uint64_t id, std::uint64_t serves, Message message) {
    auto held = std::make_shared<Message>(std::move(message));
    try {
        threads_.run([id, serves, held, host = host_, link = link_] {
            link->reply(id, host->serve(serves, held->text, std::move(held->fds)));
        });
    } catch (const Error& error) {
        link_->reply(id, {unavailable_reply(error.message()), {}});
    }
}

void ChildTransport::open(Message parameters, Reply reply) {
    link_->request(FrameKind::open, open_id, 0, std::move(parameters), std::move(reply));
}

void ChildTransport::call(std::uint64_t id, Message request, Reply reply) {
    if (link_->can_send_now(request.text.size())) {
        return link_->request(FrameKind::call, id, 0, std::move(request), std::move(reply));
    }
    // A child that does not read must not hold the caller.
    auto held = std::make_shared<Message>(std::move(request));
    threads_.run([link = link_, id, held, reply = std::move(reply)] {
        link->request(FrameKind::call, id, 0, std::move(*held), reply);
    });
}

void ChildTransport::give_up(std::string_view why) noexcept {
    try {
        given_up_ = true;
        link_->set_reason(fmt::format("the process of the runtime was killed: {}; restart the daemon", why));
        process_.kill(SIGKILL);
    } catch (...) {
        // It is gone already.
    }
}

}  // namespace minions::core
