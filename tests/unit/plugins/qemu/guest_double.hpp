#pragma once

#include "plugins/vmkit/launch.hpp"
#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/value.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace minions::test {

/// A QEMU's monitor with the CPUs and the memory of a machine behind it, and a guest that goes along or not.
class GuestDouble {
  public:
    enum class Guest {
        willing,   ///< does what it is asked for
        silent,    ///< does nothing
        no_cpus,   ///< says of CPUs that it cannot
        unable,    ///< says of CPUs that it cannot, and moves memory half of the way
        deaf_once  ///< does nothing until the next conversation begins
    };
    struct State {
        int cpus = 2;
        int most_cpus = 4;
        bool kvm = true;
        std::int64_t more_bytes = 0;
        std::int64_t disk_bytes = 0;
        Guest guest = Guest::willing;
        std::vector<std::string> commands;
        int conversations = 0;
    };

    explicit GuestDouble(const std::string& path) : listener_(vmkit::listen_on(path)) {
        thread_ = std::thread([this] { run(); });
    }
    ~GuestDouble() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
    }

    Sync<State> state;

  private:
    void run() {
        for (;;) {
            const Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!client) return;
            {
                const auto now = state.lock();
                if (++now->conversations > 1 && now->guest == Guest::deaf_once) now->guest = Guest::willing;
            }
            say(client, "{\"QMP\": {}}");
            for (std::string line; read_line(client, line);) answer(client, parse_json(line));
        }
    }

    static bool cannot(Guest guest) { return guest == Guest::unable || guest == Guest::no_cpus; }
    static bool read_line(const Fd& from, std::string& line) {
        line.clear();
        for (char c = 0; ::read(from.get(), &c, 1) == 1; line += c)
            if (c == '\n') return true;
        return false;
    }
    static void say(const Fd& to, const std::string& text) {
        const std::string line = text + "\r\n";
        static_cast<void>(::send(to.get(), line.data(), line.size(), MSG_NOSIGNAL));
    }
    static void say_result(const Fd& to, const std::string& result = "{}") {
        say(to, fmt::format("{{\"return\": {}}}", result));
    }

    void answer(const Fd& client, const Value& request) {
        const auto now = state.lock();
        const std::string command = request["execute"].string_or("");
        const Value& arguments = request["arguments"];
        now->commands.push_back(command);
        if (command == "query-hotpluggable-cpus") {
            say_result(client, slots(*now));
        } else if (command == "device_add") {
            const int slot = static_cast<int>(arguments["core-id"].int_or(-1));
            if (slot != now->cpus) return say(client, R"({"error": {"desc": "not the next slot"}})");
            ++now->cpus;
            say_result(client);
            tell_of_cpu(client, *now, slot, 1, cannot(now->guest) ? 1 : 0);
        } else if (command == "device_del") {
            const std::string last = fmt::format("/machine/cpu[{}]", now->cpus - 1);
            if (arguments["id"].string_or("") != last) return say(client, R"({"error": {"desc": "not it"}})");
            say_result(client);
            tell_of_cpu(client, *now, now->cpus - 1, 3, 0x84);  // it has begun
            if (now->guest == Guest::willing) --now->cpus;
            tell_of_cpu(client, *now, now->guest == Guest::willing ? now->cpus : now->cpus - 1, 3,
                        cannot(now->guest) ? 1 : 0);
        } else if (command == "qom-set") {
            say_result(client);
            move_memory(client, *now, arguments["value"].int_or(0));
        } else if (command == "query-kvm") {
            say_result(client, fmt::format(R"({{"present": true, "enabled": {}}})", now->kvm));
        } else if (command == "query-memory-devices") {
            say_result(
                client,
                fmt::format(R"([{{"type": "virtio-mem", "data": {{"id": "more-memory", "size": {}}}}}])",
                            now->more_bytes));
        } else if (command == "block_resize") {
            now->disk_bytes = arguments["size"].int_or(0);
            say_result(client);
        } else {
            say_result(client);
        }
    }

    /// As QEMU has them: the last one first.
    static std::string slots(const State& now) {
        std::string list;
        for (int i = now.most_cpus - 1; i >= 0; --i) {
            list += fmt::format(
                R"({{"props": {{"socket-id": 0, "core-id": {}, "thread-id": 0}}, "type": "max-cpu"{}}}{})", i,
                i < now.cpus ? fmt::format(R"(, "qom-path": "/machine/cpu[{}]")", i) : "", i > 0 ? "," : "");
        }
        return "[" + list + "]";
    }

    static void tell_of_cpu(const Fd& client, const State& now, int slot, int source, int status) {
        if (now.guest == Guest::silent || now.guest == Guest::deaf_once) return;
        say(client,
            fmt::format(
                R"({{"event": "ACPI_DEVICE_OST", "data": {{"info": {{"slot-type": "CPU", "slot": "{}",)"
                R"( "source": {}, "status": {}}}}}}})",
                slot, source, status));
    }

    static void move_memory(const Fd& client, State& now, std::int64_t wanted) {
        if (now.guest == Guest::silent || now.guest == Guest::deaf_once) return;
        const std::int64_t half = (now.more_bytes + wanted) / 2;
        const auto move = [&](std::int64_t to) {
            now.more_bytes = to;
            say(client,
                fmt::format(
                    R"({{"event": "MEMORY_DEVICE_SIZE_CHANGE", "data": {{"id": "more-memory", "size": {}}}}})",
                    to));
        };
        move(half);
        if (now.guest != Guest::unable) move(wanted);
    }

    Fd listener_;
    std::thread thread_;
};

}  // namespace minions::test
