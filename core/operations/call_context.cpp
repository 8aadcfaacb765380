#include "core/operations/call_context.hpp"

#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>
#include <utility>

namespace minions::core {

namespace {

class StoreJournalEntry final : public JournalEntry {
  public:
    StoreJournalEntry(Store& store, std::int64_t id) : store_(store), id_(id) {}
    void held() override {
        MINIONS_FAILPOINT("journal.held.before");
        store_.transact([&](Transaction& transaction) { transaction.hold_journal(id_); });
        MINIONS_FAILPOINT("journal.held.after");
    }

  private:
    Store& store_;
    std::int64_t id_;
};

void watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        throw error_from_errno(errno, "cannot watch for cancellation");
}

}  // namespace

class CallContext::StoreJournal final : public Journal {
  public:
    StoreJournal(Store& store, const CallOptions& options) : store_(store), options_(options) {}

    std::unique_ptr<JournalEntry> intend(std::string_view kind, std::string_view key) override;
    void gone(std::string_view kind, std::string_view key) override;

  private:
    Store& store_;
    const CallOptions& options_;
};

std::unique_ptr<JournalEntry> CallContext::StoreJournal::intend(std::string_view kind, std::string_view key) {
    JournalRecord record;
    record.row.instance = options_.instance;
    record.row.kind = kind;
    record.row.key = key;
    record.runtime = options_.runtime;
    record.operation = options_.operation;
    record.created_at = now_rfc3339();
    MINIONS_FAILPOINT("journal.intend.before");
    const auto id =
        store_.transact([&](Transaction& transaction) { return transaction.insert_journal(record); });
    MINIONS_FAILPOINT("journal.intend.after");
    return std::make_unique<StoreJournalEntry>(store_, id);
}

void CallContext::StoreJournal::gone(std::string_view kind, std::string_view key) {
    MINIONS_FAILPOINT("journal.gone.before");
    store_.transact([&](Transaction& transaction) {
        transaction.delete_journal(options_.runtime, options_.instance, kind, key);
    });
    MINIONS_FAILPOINT("journal.gone.after");
}

CallContext::CallContext(Store& store, CallOptions options)
    : store_(store),
      options_(std::move(options)),
      journal_(std::make_unique<StoreJournal>(store_, options_)) {
    if (options_.second_cancel_fd < 0) return;
    if (options_.cancel_fd < 0) {
        options_.cancel_fd = std::exchange(options_.second_cancel_fd, -1);
        return;
    }
    both_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!both_) throw error_from_errno(errno, "cannot watch for cancellation");
    watch(both_.get(), options_.cancel_fd);
    watch(both_.get(), options_.second_cancel_fd);
}

CallContext::~CallContext() = default;

int CallContext::cancel_fd() const noexcept { return both_ ? both_.get() : options_.cancel_fd; }

bool CallContext::cancelled() const noexcept {
    pollfd fd{cancel_fd(), POLLIN, 0};
    return fd.fd >= 0 && ::poll(&fd, 1, 0) > 0;
}

void CallContext::log(LogLevel level, std::string_view message) noexcept {
    try {
        if (options_.log) options_.log(level, message);
    } catch (...) {
        // A line is lost; the call goes on.
    }
}

void CallContext::progress(const Progress& progress) {
    if (options_.progress) options_.progress(progress);
}

void CallContext::save_state(const RuntimeState& state) {
    if (options_.instance.empty())
        throw Error{Code::internal, "a runtime saved state in a call that is about no instance"};
    MINIONS_FAILPOINT("state.save.before");
    store_.transact([&](Transaction& transaction) {
        transaction.update_instance_state(options_.instance, state);
        if (options_.state_saved) transaction.after_commit([&] { options_.state_saved(state); });
    });
    MINIONS_FAILPOINT("state.save.after");
}

Journal& CallContext::journal() { return *journal_; }

VmServices& CallContext::vm_services() {
    if (!options_.vm_services || options_.instance.empty())
        throw Error{Code::unavailable, "this call offers no services for VMs"};
    const auto services = vm_services_.lock();
    if (!*services) *services = options_.vm_services({*this, options_.instance, options_.operation});
    return **services;
}

Network& CallContext::network() { return vm_services().network(); }
Processes& CallContext::processes() { return vm_services().processes(); }
Images& CallContext::images() { return vm_services().images(); }
void CallContext::release_own(const JournalRow& row) { vm_services().release(row); }
void CallContext::ended(const std::function<bool()>& still) { vm_services().ended(still); }

}  // namespace minions::core
