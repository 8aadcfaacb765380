#pragma once

#include "plugins/vmkit/vmm.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <thread>

namespace minions::vmkit {

/// One life of a machine: from the start of its VMM to its end.
struct Life {
    std::string instance;
    std::uint64_t boot = 0;
    Machine machine;
    ProcessInfo process;
    std::unique_ptr<AgentClient> agent;
    Fd end;                               ///< SupervisedProcess::end; read by the Watch alone
    EventFd over;                         ///< raised when the VMM has ended
    Sync<std::optional<ProcessEnd>> how;  ///< set before `over`
    std::atomic<bool> begun = false;  ///< its agent has been set up: a further session is one after a reboot
};
using LifePtr = std::shared_ptr<Life>;

/// The machines that live, and one thread that learns of their ends.
class Lives {
  public:
    /// `ended` is called on the thread here, once, for a life that is still the instance's present one.
    explicit Lives(std::function<void(const LifePtr&)> ended);
    ~Lives();
    Lives(const Lives&) = delete;
    Lives& operator=(const Lives&) = delete;

    // [any thread]
    /// From here on it is the instance's present life, and its end is noticed.
    void add(const LifePtr& life);
    /// Null if the instance has none.
    LifePtr find(const std::string& instance) const;
    /// Its end is nobody's news any more: whoever calls this ends it.
    void forget(const std::string& instance);

  private:
    struct State {
        std::map<std::string, LifePtr, std::less<>> present;
        std::map<int, LifePtr> watched;  ///< by the descriptor of the end
    };
    void run();
    void look(int fd);

    std::function<void(const LifePtr&)> ended_;
    Sync<State> state_;
    Fd epoll_;
    EventFd stop_;
    std::thread thread_;
};

/// Runs short jobs on a few threads of its own.
class Jobs {
  public:
    Jobs();
    /// Drops what has not begun.
    ~Jobs();
    void post(std::function<void()> job);

  private:
    struct State {
        std::vector<std::function<void()>> waiting;
        bool over = false;
    };
    void run();
    Sync<State> state_;
    std::condition_variable changed_;
    std::vector<std::thread> threads_;
};

}  // namespace minions::vmkit
