#pragma once

#include "plugins/vmkit/vm_runtime.hpp"
#include "tests/unit/plugins/support.hpp"

#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

namespace minions::test {

/// A directory of its own that goes with the object.
class Scratch {
  public:
    Scratch() {
        std::string pattern = "/tmp/minions-vm-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw error_from_errno(errno, "cannot make a directory");
        path = pattern;
    }
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string path;
};

/// Core's services for VM runtimes as far as one test needs them: processes are children of the test.
class VmWorld : private Processes, private Network, private Images {
  public:
    explicit VmWorld(VmImage image) : image_(std::move(image)) {
        for (const char* name : {"/state", "/run"}) std::filesystem::create_directory(scratch_.path + name);
    }
    ~VmWorld() {
        kill("vmm");
        for (auto& watcher : watchers_) watcher.join();
    }

    /// One call's context with these services.
    class Call : public TestContext {
      public:
        explicit Call(VmWorld& world, milliseconds life = 60s) : TestContext(life), world_(world) {}
        Network& network() override { return world_; }
        Processes& processes() override { return world_; }
        Images& images() override { return world_; }
        void save_state(const RuntimeState& state) override { *world_.saved.lock() = state; }

      private:
        VmWorld& world_;
    };

    Instance instance(std::string id = "abcdefghijkl") {
        Instance made;
        made.id = std::move(id);
        made.name = "guest";
        made.boot = 1;
        made.spec.cpus = 1;
        made.spec.memory_mb = 256;
        return made;
    }
    std::string directory() const { return scratch_.path + "/state"; }
    std::string run_directory() const { return scratch_.path + "/run"; }
    bool lives() { return vmm_.lock()->running; }
    /// Ends the VMM behind the runtime's back.
    void kill_vmm() {
        const auto vmm = vmm_.lock();
        if (vmm->running) vmm->process.kill(SIGKILL);
    }

    Sync<std::optional<RuntimeState>> saved;
    std::atomic<int> attached = 0;  ///< how many times more than detached
    NetworkAttachment attachment;

  private:
    struct Vmm {
        Process process;
        bool started = false;
        bool running = false;
        std::optional<ProcessEnd> how;
        std::vector<Fd> tell;
    };

    ProcessHome home() override { return {::getuid(), ::getgid(), directory(), run_directory()}; }

    SupervisedProcess start(const ProcessSpec& spec, std::vector<Fd> pass) override {
        SpawnOptions options;
        options.argv = spec.argv;
        for (const auto& [name, value] : spec.env) options.env.push_back(name + "=" + value);
        for (std::size_t i = 0; i < pass.size(); ++i)
            options.fds.emplace_back(static_cast<int>(i) + 3, std::move(pass[i]));
        const auto output = [&](const char* kind) {
            const std::string path = directory() + "/" + spec.role + kind;
            return Stdio(Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)));
        };
        options.out = output(".out");
        options.err = output(".err");
        const auto vmm = vmm_.lock();
        if (vmm->running) throw Error{Code::conflict, "it runs already"};
        vmm->process = spawn(std::move(options));
        vmm->started = vmm->running = true;
        vmm->how.reset();
        watchers_.emplace_back([this] { wait_for_end(); });
        return told(*vmm);
    }

    std::optional<SupervisedProcess> find(std::string_view) override {
        const auto vmm = vmm_.lock();
        if (!vmm->started) return std::nullopt;
        return told(*vmm);
    }

    void kill(std::string_view) override {
        auto vmm = vmm_.lock();
        if (!vmm->started) return;
        if (vmm->running) vmm->process.kill(SIGKILL);
        vmm.wait(ended_, [](const Vmm& now) { return !now.running; });
        vmm->started = false;
    }

    SupervisedProcess told(Vmm& vmm) {
        auto pair = make_socketpair(SOCK_SEQPACKET);
        if (vmm.how) {
            say(pair.first, *vmm.how);
        } else {
            vmm.tell.push_back(std::move(pair.first));
        }
        return {{vmm.process.pid(), process_start_time(vmm.process.pid()).value_or(0)},
                std::move(pair.second)};
    }

    static void say(const Fd& to, const ProcessEnd& end) {
        const std::string text = to_json(encode(end));
        static_cast<void>(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL));
    }

    void wait_for_end() {
        const int pidfd = vmm_.lock()->process.pidfd();
        pollfd fd{pidfd, POLLIN, 0};
        poll_until(&fd, 1, no_deadline);
        const auto vmm = vmm_.lock();
        const auto status = vmm->process.wait();
        ProcessEnd end;
        if (status->signal != 0) {
            end.signal = status->signal;
        } else {
            end.exit_code = status->code;
        }
        vmm->running = false;
        vmm->how = end;
        for (const Fd& to : vmm->tell) say(to, end);
        vmm->tell.clear();
        ended_.notify_all();
    }

    NetworkAttachment attach() override {
        ++attached;
        return attachment;
    }
    void detach() override { attached = 0; }
    VmImage acquire(const std::string&) override { return image_; }

    Scratch scratch_;
    VmImage image_;
    Sync<Vmm> vmm_;
    std::condition_variable ended_;
    std::vector<std::thread> watchers_;
};

}  // namespace minions::test
