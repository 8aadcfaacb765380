#include "core/plugins/calls.hpp"

#include <minions/error.hpp>

namespace minions::core {

void PluginCall::finish(Message reply) {
    const auto state = state_.lock();
    if (state->left) return;
    state->reply = std::move(reply);
    finished_.raise();
}

std::optional<Message> PluginCall::take_reply() { return std::exchange(state_.lock()->reply, std::nullopt); }

void PluginCall::leave() {
    std::map<std::int64_t, std::shared_ptr<JournalEntry>> entries;
    auto state = state_.lock();
    state->left = true;
    state.wait(unused_, [](const State& now) { return now.users == 0; });
    state->context = nullptr;
    state->entries.swap(entries);
}

PluginCall::Borrowed::Borrowed(std::shared_ptr<PluginCall> call) : call_(std::move(call)) {
    const auto state = call_->state_.lock();
    if (state->left) throw Error(Code::cancelled, "the call is over");
    ++state->users;
    context_ = state->context;
}

PluginCall::Borrowed::~Borrowed() {
    const auto state = call_->state_.lock();
    if (--state->users == 0) call_->unused_.notify_all();
}

std::int64_t PluginCall::keep(std::unique_ptr<JournalEntry> entry) {
    const auto state = state_.lock();
    const auto number = static_cast<std::int64_t>(state->entries.size()) + 1;
    state->entries.emplace(number, std::move(entry));
    return number;
}

void PluginCall::held(std::int64_t number) {
    std::shared_ptr<JournalEntry> entry;
    {
        const auto state = state_.lock();
        const auto found = state->entries.find(number);
        if (found != state->entries.end()) entry = found->second;
    }
    if (!entry) throw Error(Code::not_found, "the call has no such journal entry");
    entry->held();
}

PluginCalls::Entered PluginCalls::enter(Context& context) {
    Entered entered{next_id(), std::make_shared<PluginCall>(context)};
    calls_.lock()->emplace(entered.id, entered.call);
    return entered;
}

std::shared_ptr<PluginCall> PluginCalls::find(std::uint64_t id) const {
    const auto calls = calls_.lock();
    const auto found = calls->find(id);
    return found == calls->end() ? nullptr : found->second;
}

}  // namespace minions::core
