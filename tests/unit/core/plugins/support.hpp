#pragma once

#include "core/plugins/child_process.hpp"
#include "core/plugins/in_process.hpp"
#include "core/plugins/plain_context.hpp"
#include "core/plugins/runtime_client.hpp"

#include <minions/base/deadline.hpp>

#include <dirent.h>

#include <condition_variable>
#include <map>
#include <string>
#include <vector>

extern "C" const minions_plugin* minions_plugin_entry(void);

namespace minions::core::testing {

using std::chrono::seconds;

/// Collects what plugins say outside of calls.
class RecordingSink : public PluginSink {
  public:
    void on_log(std::string_view, LogLevel, std::string_view message) override {
        seen_.lock()->logs.emplace_back(message);
        changed_.notify_all();
    }
    void on_event(const RuntimeHandle&, const InstanceEvent& event) override {
        seen_.lock()->events.push_back(event);
        changed_.notify_all();
    }
    void on_health_changed(const RuntimeHandle&) override {
        ++seen_.lock()->health_changes;
        changed_.notify_all();
    }

    struct Seen {
        std::vector<std::string> logs;
        std::vector<InstanceEvent> events;
        int health_changes = 0;
    };
    template <class Predicate>
    bool wait(Predicate ready) {
        return seen_.lock().wait_until(changed_, deadline_in(seconds(20)), ready);
    }
    Seen seen() { return *seen_.lock(); }

  private:
    Sync<Seen> seen_;
    std::condition_variable changed_;
};

/// A Context that keeps what the runtime asked of it.
class RecordingContext : public PlainContext {
  public:
    using PlainContext::PlainContext;
    explicit RecordingContext() : PlainContext(deadline_in(seconds(20))) {}

    struct Seen {
        std::vector<std::string> journal;  ///< "intend kind key", "held kind key", "gone kind key"
        std::vector<Progress> progress;
        std::vector<RuntimeState> states;
    };
    Seen seen() { return *seen_.lock(); }

    void progress(const Progress& progress) override { seen_.lock()->progress.push_back(progress); }
    void save_state(const RuntimeState& state) override { seen_.lock()->states.push_back(state); }

  private:
    struct Entry : JournalEntry {
        RecordingContext& context;
        std::string what;
        Entry(RecordingContext& of, std::string text) : context(of), what(std::move(text)) {}
        void held() override { context.seen_.lock()->journal.push_back("held " + what); }
    };
    std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) override {
        const std::string what = std::string(kind) + " " + std::string(key);
        seen_.lock()->journal.push_back("intend " + what);
        return std::make_unique<Entry>(*this, what);
    }
    void gone(std::string_view kind, std::string_view key) override {
        seen_.lock()->journal.push_back("gone " + std::string(kind) + " " + std::string(key));
    }

    Sync<Seen> seen_;
};

inline Instance make_instance(const std::string& id, std::map<std::string, std::string> labels = {},
                              std::vector<std::string> command = {}) {
    Instance instance;
    instance.id = id;
    instance.name = "name-" + id;
    instance.owner = "local";
    instance.boot = 1;
    instance.spec.image = "any";
    instance.spec.labels = std::move(labels);
    instance.spec.command = std::move(command);
    return instance;
}

/// Descriptors of this process right now.
inline std::size_t open_descriptors() {
    DIR* directory = ::opendir("/proc/self/fd");
    std::size_t count = 0;
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
    return count;
}

/// Reads to the end.
inline std::string read_all(const Fd& from) {
    std::string text;
    char buffer[65536];
    for (ssize_t got = 0; (got = ::read(from.get(), buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
}

/// The code of the Error that `call` throws; fails where it throws none.
template <class Call>
Code code_of(Call&& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.code();
    }
    throw std::runtime_error("nothing was thrown");
}

}  // namespace minions::core::testing
