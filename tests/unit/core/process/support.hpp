#pragma once

#include "core/app/vm_services.hpp"
#include "core/store/ids.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/files.hpp>
#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <catch2/catch.hpp>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

namespace minions::core {

/// The services of a daemon for VMs, without the daemon.
struct Services {
    Services() {
        // Another user passes through it to the directories below.
        std::filesystem::permissions(directory.path(), std::filesystem::perms(0711));
        options.state_dir = directory.path() / "state";
        options.run_dir = directory.path() / "run";
        std::filesystem::create_directory(options.run_dir);
        options.shim = MINIONS_SHIM;
        store = std::make_unique<Store>(options.state_dir);
        instance = add("a");
        start();
    }
    ~Services() {
        for (const std::string& id : instances) {
            CallContext ctx(*store, call_options(id));
            try {
                ctx.ended([] { return true; });
            } catch (const std::exception& error) {
                WARN("a process may be left: " << error.what());
            }
        }
    }

    /// What a daemon does at its start, and what its end does: processes live on.
    void start() { parts = std::make_unique<VmServiceParts>(*store, options); }
    void restart() {
        parts.reset();
        start();
    }

    std::string add(const std::string& name) {
        InstanceRow row;
        row.id = new_id();
        row.owner = "local";
        row.name = name;
        row.runtime = "fake";
        row.created_at = now_rfc3339();
        store->transact([&](Transaction& transaction) { transaction.insert_instance(row); });
        instances.push_back(row.id);
        return row.id;
    }
    CallOptions call_options(const std::string& id) {
        CallOptions call;
        call.runtime = "fake";
        call.instance = id;
        call.deadline = deadline_in(std::chrono::seconds(20));
        call.cancel_fd = cancel.fd();
        call.vm_services = [this](VmCall about) { return parts->make(std::move(about)); };
        return call;
    }
    /// One call into a runtime.
    CallContext call() { return CallContext(*store, call_options(instance)); }

    SupervisedProcess run(const std::string& script, const std::string& role = "vmm") {
        return call().processes().start(spec(script, role), {});
    }
    static ProcessSpec spec(const std::string& script, const std::string& role = "vmm") {
        ProcessSpec wanted;
        wanted.role = role;
        wanted.argv = {"/bin/sh", "-c", script};
        wanted.env = {{"PATH", "/usr/bin:/bin"}};
        return wanted;
    }

    std::filesystem::path home() const { return options.state_dir / "vms" / instance; }
    std::filesystem::path run_home() const { return options.run_dir / "vms" / instance; }
    std::string text(const std::string& name) const { return read_file((home() / name).string(), 1U << 20U); }
    shim::ProcessRecord record(const std::string& role = "vmm") const {
        const auto said = RoleFiles(home(), role).process();
        REQUIRE(said);
        return *said;
    }
    /// "kind key", newest first; an intent has a question mark.
    std::vector<std::string> rows() const {
        std::vector<std::string> words;
        store->transact([&](Transaction& transaction) {
            words.clear();
            for (const JournalRecord& each : transaction.journal()) {
                if (each.row.kind == "directory") continue;
                CHECK(each.runtime.empty());
                words.push_back(each.row.kind + " " + each.row.key + (each.row.held ? "" : "?"));
            }
        });
        return words;
    }
    std::vector<JournalRow> directories() const {
        std::vector<JournalRow> found;
        store->transact([&](Transaction& transaction) {
            found.clear();
            for (const JournalRecord& each : transaction.journal())
                if (each.row.kind == "directory") found.push_back(each.row);
        });
        return found;
    }

    TemporaryDirectory directory;
    ProcessOptions options;
    EventFd cancel;
    std::unique_ptr<Store> store;
    std::unique_ptr<VmServiceParts> parts;
    std::string instance;
    std::vector<std::string> instances;
};

/// The message of a watcher; nullopt if there is none, only the end.
inline std::optional<ProcessEnd> end_of(const SupervisedProcess& process) {
    pollfd entry{process.end.get(), POLLIN, 0};
    REQUIRE(poll_until(&entry, 1, deadline_in(std::chrono::seconds(20))) > 0);
    std::string text(1024, '\0');
    const ssize_t got = ::recv(process.end.get(), text.data(), text.size(), 0);
    REQUIRE(got >= 0);
    if (got == 0) return std::nullopt;
    CHECK(::recv(process.end.get(), text.data() + got, 1, 0) == 0);  // one, and then the end
    return decode<ProcessEnd>(parse_json({text.data(), static_cast<std::size_t>(got)}));
}

inline bool silent(const SupervisedProcess& process) {
    pollfd entry{process.end.get(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 0;
}

inline bool lives(const ProcessInfo& info) {
    return process_start_time(static_cast<pid_t>(info.pid)) == info.start_time;
}

inline bool ends(pid_t pid, std::uint64_t start_time) {
    const Fd process = open_process(pid, start_time);
    pollfd entry{process.get(), POLLIN, 0};
    return !process || poll_until(&entry, 1, deadline_in(std::chrono::seconds(20))) > 0;
}

template <class Fn>
Error error_of(Fn&& fn) {
    try {
        fn();
    } catch (const Error& error) {
        return error;
    }
    FAIL("nothing was thrown");
    return {Code::internal, ""};
}

}  // namespace minions::core
