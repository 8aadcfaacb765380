#include "call_context.hpp"

namespace minions::detail {
namespace {

class RemoteEntry final : public JournalEntry {
  public:
    RemoteEntry(const HostLink& link, std::uint64_t call, std::int64_t row)
        : link_(link), call_(call), row_(row) {}
    void held() override {
        link_.call(call_, seam::host_method::journal_held, Value::object({{"id", row_}}));
    }

  private:
    const HostLink& link_;
    std::uint64_t call_;
    std::int64_t row_;
};

SupervisedProcess supervised(HostLink::Answer answer) {
    if (answer.fds.size() != 1) {
        throw Error(Code::internal, "the host told of a process without the descriptor of its end");
    }
    return {decode<ProcessInfo>(answer.value, Unknown::ignore), std::move(answer.fds[0])};
}

}  // namespace

void CallContext::cancel() noexcept {
    const auto event = event_.lock();
    cancelled_ = true;
    if (*event) (*event)->raise();
}

int CallContext::cancel_fd() const noexcept {
    try {
        const auto event = event_.lock();
        if (!*event) {
            *event = std::make_unique<EventFd>();
            if (cancelled_) (*event)->raise();
        }
        return (*event)->fd();
    } catch (...) {
        return -1;  // out of descriptors: poll() ignores it, and the deadline still holds
    }
}

void CallContext::progress(const Progress& progress) {
    link_.call(id_, seam::host_method::progress, encode(progress));
}

void CallContext::save_state(const RuntimeState& state) {
    link_.call(id_, seam::host_method::save_state, encode(state));
}

std::unique_ptr<JournalEntry> CallContext::intend(std::string_view kind, std::string_view key) {
    const Value row =
        link_.call(id_, seam::host_method::journal_intend, Value::object({{"kind", kind}, {"key", key}}));
    return std::make_unique<RemoteEntry>(link_, id_, row["id"].int_or(0));
}

void CallContext::gone(std::string_view kind, std::string_view key) {
    link_.call(id_, seam::host_method::journal_gone, Value::object({{"kind", kind}, {"key", key}}));
}

NetworkAttachment CallContext::attach() {
    return decode<NetworkAttachment>(link_.call(id_, seam::host_method::network_attach, Value::object()),
                                     Unknown::ignore);
}

void CallContext::detach() { link_.call(id_, seam::host_method::network_detach, Value::object()); }

ProcessHome CallContext::home() {
    return decode<ProcessHome>(link_.call(id_, seam::host_method::process_home, Value::object()),
                               Unknown::ignore);
}

SupervisedProcess CallContext::start(const ProcessSpec& spec, std::vector<Fd> pass) {
    return supervised(link_.ask(id_, seam::host_method::process_start, encode(spec), std::move(pass)));
}

std::optional<SupervisedProcess> CallContext::find(std::string_view role) {
    auto answer = link_.ask(id_, seam::host_method::process_find, Value::object({{"role", role}}));
    if (answer.value.is_null()) return std::nullopt;
    return supervised(std::move(answer));
}

void CallContext::kill(std::string_view role) {
    link_.call(id_, seam::host_method::process_kill, Value::object({{"role", role}}));
}

VmImage CallContext::acquire(const std::string& name) {
    return decode<VmImage>(link_.call(id_, seam::host_method::image_acquire, Value::object({{"name", name}})),
                           Unknown::ignore);
}

}  // namespace minions::detail
