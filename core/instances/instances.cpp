#include "core/instances/instances.hpp"

#include "core/instances/impl.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace minions::core {

Instances::Impl::Impl(Store& store_in, Events& events_in, Operations& operations_in, Runtimes& runtimes_in,
                      InstancesOptions options_in)
    : store(store_in),
      events(events_in),
      operations(operations_in),
      runtimes(runtimes_in),
      options(options_in) {
    const auto rows = store.transact([](Transaction& transaction) { return transaction.instances(); });
    {
        const auto now = live.lock();
        for (const RuntimeHandle* handle : runtimes.all())
            now->health[handle->name] = runtimes.health(*handle);
        for (const InstanceRow& row : rows)
            now->awaiting[row.id] =
                fmt::format("the runtime '{}' has not been heard of it since the start", row.runtime);
    }
    for (const InstanceRow& row : rows) table.put(show(row));
}

Instances::Impl::~Impl() { stopping.raise(); }

Instances::Instances(Store& store, Events& events, Operations& operations, Runtimes& runtimes,
                     InstancesOptions options)
    : impl_(std::make_unique<Impl>(store, events, operations, runtimes, options)) {}

Instances::~Instances() = default;

void Instances::start() { impl_->recover_all(); }

bool Instances::wait_recovered(SteadyTime until) {
    auto now = impl_->live.lock();
    return now.wait_until(impl_->recovered, until, [](const Live& live) {
        return std::all_of(live.recovered.begin(), live.recovered.end(),
                           [](const auto& runtime) { return runtime.second; });
    });
}

InstanceViewPtr Instances::get(const InstanceKey& key) const { return impl_->need(key); }
InstanceViewPtr Instances::find(std::string_view id) const { return impl_->table.find(id); }
ListPage Instances::list(const ListQuery& query) const { return impl_->table.list(query); }
std::vector<InstanceViewPtr> Instances::views(const ListQuery& query) const {
    return impl_->table.views(query);
}
std::map<std::pair<std::string, Status>, std::size_t> Instances::counts() const {
    return impl_->table.counts();
}

Value Instances::diagnosis(const InstanceKey& key) const {
    auto row = impl_->store.transact(
        [&](Transaction& transaction) { return transaction.diagnosis(key.owner, key.name); });
    if (!row)
        throw Error{Code::not_found, fmt::format("there is no diagnosis of a VM '{}'", key.name),
                    "one is kept when a create fails"};
    row->document.set("time", row->time);
    return std::move(row->document);
}

void Instances::report(std::string_view runtime, const InstanceEvent& event) noexcept {
    try {
        impl_->report(runtime, event);
    } catch (...) {  // lost as Host::report() says: the next inspect() tells the truth
    }
}

void Instances::health_checked(std::string_view runtime) noexcept {
    try {
        impl_->health_checked(std::string(runtime));
    } catch (...) {  // the store failed: the next look does it
    }
}

}  // namespace minions::core
