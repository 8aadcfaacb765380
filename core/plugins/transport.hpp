#pragma once

#include <minions/base/fd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions::core {

/// One message of the seam: a JSON document and the descriptors beside it.
struct Message {
    std::string text;
    std::vector<Fd> fds;
};

/// The descriptors of a message that carries one.
inline std::vector<Fd> one(Fd fd) {
    std::vector<Fd> fds;
    fds.push_back(std::move(fd));
    return fds;
}

/// Takes the reply of a call. Called exactly once, from any thread, and must not block.
using Reply = std::function<void(Message)>;

/// Serves a call of the plugin into core: the id of the plugin call that it belongs to (0: none) and the
/// request. Runs on a thread of the transport, may block, may call the plugin again; several at once. Never
/// throws.
using HostHandler = std::function<Message(std::uint64_t serves, std::string_view text, std::vector<Fd> fds)>;

/// How messages reach a plugin: in this process or in another. Thread-safe.
class Transport {
  public:
    Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    virtual ~Transport() = default;

    /// Makes the runtime object. Before everything else, once. As call().
    virtual void open(Message parameters, Reply reply) = 0;

    /// Starts a call and returns at once; it runs on a thread that is not the caller's, so that a plugin that
    /// never returns holds nothing of the caller. `id` is unique and not 0. Where the plugin is gone, the
    /// reply is an `unavailable` error.
    virtual void call(std::uint64_t id, Message request, Reply reply) = 0;

    /// A call hangs beyond its time. A child process is killed, and all its calls end with `unavailable`; in
    /// this process nothing can be done but to leave the thread to it.
    virtual void give_up(std::string_view why) noexcept = 0;
};

/// The text of {"e": {"code": "unavailable", …}}.
std::string unavailable_reply(std::string_view why);

}  // namespace minions::core
