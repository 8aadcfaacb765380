#pragma once

#include <minions/base/deadline.hpp>
#include <minions/base/event_fd.hpp>
#include <minions/base/fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace minions::test {

using namespace std::chrono_literals;

/// A host that keeps what it is told, and lets a test wait for it.
class TestHost : public Host {
  public:
    explicit TestHost(std::string installation) : installation_(std::move(installation)) {}

    void log(LogLevel, std::string_view message) noexcept override {
        state_.lock()->lines.emplace_back(message);
    }
    void report(const InstanceEvent& event) noexcept override {
        state_.lock()->events.push_back(event);
        changed_.notify_all();
    }
    void health_changed() noexcept override {
        ++state_.lock()->health_changes;
        changed_.notify_all();
    }
    const std::string& installation() const override { return installation_; }
    const Directories& directories() const override { return directories_; }

    /// Whether an event that fulfils `wanted` came or comes within the time.
    template <class Predicate>
    bool saw(Predicate wanted, milliseconds limit = 10s) {
        auto state = state_.lock();
        return state.wait_until(changed_, deadline_in(limit), [&](const State& s) {
            return std::any_of(s.events.begin(), s.events.end(), wanted);
        });
    }
    bool saw_health_changes(int count, milliseconds limit = 10s) {
        auto state = state_.lock();
        return state.wait_until(changed_, deadline_in(limit),
                                [&](const State& s) { return s.health_changes >= count; });
    }
    std::vector<InstanceEvent> events() { return state_.lock()->events; }
    void forget() { state_.lock()->events.clear(); }
    std::vector<std::string> lines() { return state_.lock()->lines; }

  private:
    struct State {
        std::vector<InstanceEvent> events;
        std::vector<std::string> lines;
        int health_changes = 0;
    };
    std::string installation_;
    Directories directories_;
    Sync<State> state_;
    std::condition_variable changed_;
};

class TestJournal : public Journal {
  public:
    using Row = std::pair<std::string, std::string>;

    std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) override {
        rows_.lock()->emplace(kind, key);
        struct Entry : JournalEntry {
            void held() override {}
        };
        return std::make_unique<Entry>();
    }
    void gone(std::string_view kind, std::string_view key) override {
        rows_.lock()->erase({std::string(kind), std::string(key)});
    }
    std::set<Row> rows() { return *rows_.lock(); }

  private:
    Sync<std::set<Row>> rows_;
};

/// One call's context; a test cancels it or gives it a short life.
class TestContext : public Context {
  public:
    explicit TestContext(milliseconds life = 60s) : deadline_(deadline_in(life)) {}

    SteadyTime deadline() const override { return deadline_; }
    bool cancelled() const noexcept override { return cancel_.raised(); }
    int cancel_fd() const noexcept override { return cancel_.fd(); }
    void log(LogLevel, std::string_view message) noexcept override { lines.lock()->emplace_back(message); }
    void progress(const Progress& made) override { progressed.lock()->push_back(made); }
    void save_state(const RuntimeState&) override {}
    Journal& journal() override { return rows; }
    Network& network() override { throw Error(Code::unavailable, "no network in this test"); }
    Images& images() override { throw Error(Code::unavailable, "no images in this test"); }
    Processes& processes() override { throw Error(Code::unavailable, "no processes in this test"); }

    void cancel() { cancel_.raise(); }

    TestJournal rows;
    Sync<std::vector<std::string>> lines;
    Sync<std::vector<Progress>> progressed;

  private:
    SteadyTime deadline_;
    EventFd cancel_;
};

/// Reads a descriptor to its end on a thread of its own.
class Collected {
  public:
    explicit Collected(Fd fd)
        : thread_([this, held = std::move(fd)] {
              char buffer[65536];
              for (ssize_t got = 0; (got = ::read(held.get(), buffer, sizeof buffer)) > 0;) {
                  text_.lock()->append(buffer, static_cast<std::size_t>(got));
                  grew_.notify_all();
              }
          }) {}
    ~Collected() {
        if (thread_.joinable()) thread_.join();
    }
    std::string text() {
        if (thread_.joinable()) thread_.join();
        return *text_.lock();
    }
    bool saw(std::string_view wanted, milliseconds limit = 10s) {
        auto text = text_.lock();
        return text.wait_until(grew_, deadline_in(limit),
                               [&](const std::string& t) { return t.find(wanted) != std::string::npos; });
    }

  private:
    Sync<std::string> text_;
    std::condition_variable grew_;
    std::thread thread_;
};

inline ExecSpec command(std::string name, std::vector<std::string> args = {}) {
    ExecSpec spec;
    spec.command = std::move(name);
    spec.args = std::move(args);
    return spec;
}

/// The code of the Error that `action` throws, as a word; "" if it throws none.
template <class Action>
std::string code_thrown(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return std::string(to_word(error.code()));
    }
    return "";
}

inline void put(int fd, std::string_view bytes) { write_all(fd, bytes.data(), bytes.size()); }

}  // namespace minions::test
