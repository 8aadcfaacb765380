#pragma once

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/examples/null_runtime.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>

namespace minions::examples {

/// A file or directory that was copied into an instance.
struct NullFile {
    std::string content;
    unsigned mode = 0644;
    char type = '0';  ///< as in a tar header
};

struct NullSnapshot {
    SnapshotInfo info;
    Status status = Status::stopped;
    std::map<std::string, NullFile> files;
};

/// What can change of an instance.
struct NullLife {
    Status status = Status::stopped;
    std::uint64_t boot = 0;
    std::optional<int> exit_code;
    std::string log;
    std::chrono::steady_clock::time_point started;
    std::map<std::string, NullFile> files;  // by absolute path
    std::map<std::string, NullSnapshot> snapshots;
    std::set<EventFd*> watchers;  // raised whenever status or log change

    void wake() const {
        for (auto* watcher : watchers) watcher->raise();
    }
    void add_log(std::string_view text);
};

struct NullInstance {
    const std::string id;
    const std::map<std::string, std::string> labels;
    Sync<InstanceSpec> spec;  // resize changes it
    Sync<NullLife> life;

    NullInstance(std::string of, InstanceSpec as)
        : id(std::move(of)), labels(as.labels), spec(std::move(as)) {}

    InstanceFacts facts() const;
    std::uint64_t boot() const { return life.lock()->boot; }
};

/// Writes all of it; a slow reader makes it wait, until the call is cancelled or past its deadline, which
/// throws. Returns false when the reader is gone.
bool write_to(Context& ctx, const Fd& out, std::string_view data);
/// Reads what is there, waiting for something; empty at the end. Throws as write_to().
std::string read_from(Context& ctx, const Fd& in);

/// Raises an event whenever the instance changes, for as long as it lives.
class NullWatch {
  public:
    explicit NullWatch(std::shared_ptr<NullInstance> instance) : instance_(std::move(instance)) {
        instance_->life.lock()->watchers.insert(&event_);
    }
    NullWatch(const NullWatch&) = delete;
    NullWatch& operator=(const NullWatch&) = delete;
    ~NullWatch() { instance_->life.lock()->watchers.erase(&event_); }
    EventFd& event() { return event_; }

  private:
    std::shared_ptr<NullInstance> instance_;
    EventFd event_;
};

/// Runs functions at their time, on one thread.
class NullTimers {
  public:
    NullTimers();
    ~NullTimers();
    void at(std::chrono::steady_clock::time_point when, std::function<void()> run);

  private:
    void loop();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> due_;
    bool stop_ = false;
    std::thread thread_;
};

/// The number of a label, or `fallback`. Throws invalid for what is no number.
std::int64_t number_label(const std::map<std::string, std::string>& labels, const std::string& name,
                          std::int64_t fallback);
/// Whether the comma-separated `list` has `word`.
bool has_word(std::string_view list, std::string_view word);

/// "2026-01-31T12:00:00Z"
std::string utc_now();

}  // namespace minions::examples
