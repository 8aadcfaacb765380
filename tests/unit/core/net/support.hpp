#pragma once

#include "core/net/net.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/id.hpp>
#include <minions/base/spawn.hpp>

#include <fcntl.h>
#include <sched.h>

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace minions::core {

/// A network namespace of its own, with nothing but a loopback device that is up.
class Namespace {
  public:
    Namespace() {
        in_thread([this] {
            if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("unshare(CLONE_NEWNET) failed");
            fd_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        });
        run([] {
            Links links;
            LinkChange up;
            up.up = true;
            links.change(links.find("lo").value(), up);
        });
    }

    /// In a thread that is in it, as are the threads and programs that fn starts.
    template <class Fn>
    void run(Fn fn) const {
        in_thread([&] {
            if (::setns(fd_.get(), CLONE_NEWNET) != 0) throw std::runtime_error("setns failed");
            fn();
        });
    }
    /// What `ip … netns` takes.
    std::string path() const {
        return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
    }

  private:
    template <class Fn>
    static void in_thread(Fn fn) {
        std::exception_ptr failure;
        std::thread thread([&] {
            try {
                fn();
            } catch (...) {
                failure = std::current_exception();
            }
        });
        thread.join();
        if (failure) std::rethrow_exception(failure);
    }

    Fd fd_;
};

/// Runs a program given as words with single spaces, and returns what it says.
inline std::string command(const std::string& line) {
    SpawnOptions options;
    std::istringstream words(line);
    for (std::string word; words >> word;) options.argv.push_back(word);
    options.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    const RunResult result =
        minions::run(std::move(options), RunLimits{deadline_in(std::chrono::seconds(30))});
    if (!result.success()) throw std::runtime_error(line + ": " + result.err);
    return result.out;
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// A host: a namespace, a database and the network of its VMs.
struct Host {
    explicit Host(NetOptions options = {}) {
        options.log = [this](LogLevel, std::string_view line) { log.lock()->append(line).append("\n"); };
        net = std::make_unique<Net>(std::move(options), store);
    }
    NetworkAttachment attach(const std::string& instance, unsigned uid = 4242) {
        return net->for_call(instance, "", [uid] { return uid; })->attach();
    }
    void detach(const std::string& instance) { net->for_call(instance, "", {})->detach(); }
    std::vector<JournalRecord> journal() {
        return store.transact([](Transaction& transaction) { return transaction.journal(); });
    }
    std::string table() const { return "minions_" + store.installation(); }
    std::string mark() const { return "minions " + store.installation(); }

    TemporaryDirectory directory;
    Store store{directory.path()};
    Sync<std::string> log;
    std::unique_ptr<Net> net;
};

}  // namespace minions::core
