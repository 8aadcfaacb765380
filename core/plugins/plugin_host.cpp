// The process that a plugin runs in when it does not run in the daemon's.
#include "core/plugins/child_process.hpp"
#include "core/plugins/description.hpp"
#include "core/plugins/in_process.hpp"
#include "core/plugins/library.hpp"

#include <minions/error.hpp>

#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <future>

namespace minions::core {
namespace {

/// Between the socket and the plugin: the transport of the daemon's own process, with messages instead of
/// calls.
class PluginHostProcess {
  public:
    PluginHostProcess(const minions_plugin& plugin, Fd socket)
        : link_(std::move(socket), [this](FrameKind kind, std::uint64_t id, std::uint64_t,
                                          Message message) { take(kind, id, std::move(message)); }),
          plugin_(plugin, [this](std::uint64_t serves, std::string_view text, std::vector<Fd> fds) {
              return ask_core(serves, text, std::move(fds));
          }) {}

    void run() { link_.receive(); }

  private:
    void take(FrameKind kind, std::uint64_t id, Message message) {
        const auto reply = [this, id](Message answer) { link_.reply(id, std::move(answer)); };
        try {
            if (kind == FrameKind::open) {
                plugin_.open(std::move(message), reply);
            } else {
                plugin_.call(id, std::move(message), reply);
            }
        } catch (const Error& error) {
            reply({unavailable_reply(error.message()), {}});
        }
    }

    Message ask_core(std::uint64_t serves, std::string_view text, std::vector<Fd> fds) {
        const auto answer = std::make_shared<std::promise<Message>>();
        link_.request(FrameKind::host, ++last_id_, serves, {std::string(text), std::move(fds)},
                      [answer](Message message) { answer->set_value(std::move(message)); });
        return answer->get_future().get();
    }

    std::atomic<std::uint64_t> last_id_ = 0;
    SocketLink link_;
    InProcessTransport plugin_;
};

}  // namespace

int plugin_host_main(int argc, char** argv) {
    int socket = 3;
    if (argc > 2) std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), socket);
    if (argc < 2) {
        std::fprintf(stderr, "plugin-host: name a plugin; the daemon starts this by itself\n");
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    try {
        const minions_plugin* plugin = load_plugin(argv[1]);
        read_description(plugin);
        // Never destroyed: threads of the plugin use it to the last moment.
        auto* process = new PluginHostProcess(*plugin, Fd(socket));
        process->run();
    } catch (const Refusal& refusal) {
        std::fprintf(stderr, "plugin-host: %s: %s\n", argv[1], refusal.reason.c_str());
        return 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "plugin-host: %s: %s\n", argv[1], error.what());
        return 1;
    }
    std::fflush(nullptr);
    // Without destructors: the plugin's threads may be anywhere.
    ::_exit(0);
}

}  // namespace minions::core
