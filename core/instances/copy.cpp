#include "core/instances/impl.hpp"
#include "core/store/ids.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

/// All but the spec, which is the source's once no other operation can change it.
Plan Instances::Impl::plan_copy(const InstanceKey& source, const std::string& new_name) const {
    const InstanceViewPtr view = need(source);
    Plan made;
    made.handle = &handle_of(view->row);
    need_facet(made.handle->copy, *made.handle);
    require_free({new_name, source.owner});
    made.whole = true;
    made.source = view->row.id;
    made.row.id = new_id();
    made.row.owner = source.owner;
    made.row.name = new_name;
    made.row.runtime = view->row.runtime;
    made.row.status = Status::creating;
    made.row.created_at = now_rfc3339();
    return made;
}

OperationPtr Instances::copy(const InstanceKey& key, std::string new_name, ChangeOptions change) {
    check_name(new_name, "new_name");
    return impl_->operations.unless_repeated(key.owner, change.idempotency, [&] {
        const auto plan = std::make_shared<const Plan>(impl_->plan_copy(key, new_name));
        if (!change.timeout) change.timeout = impl_->options.create_timeout;
        // The operation begins with the source, so that whoever is at that refuses it at once. What fails
        // leaves the source as it is, and undoes the copy.
        auto work = [impl = impl_.get(), plan](OperationContext& context, const InstanceViewPtr& source) {
            Plan made = *plan;
            made.starts = source->status != Status::stopped;
            made.row.spec = source->row.spec;
            // Two instances cannot have one port of the host.
            for (PortSpec& port : made.row.spec.ports) port.host_port = 0;
            return impl->create_claimed(context, made);
        };
        return impl_->operations.start(
            impl_->change_request(key, Action::copy, "instance.copy", change, std::move(work), std::nullopt));
    });
}

}  // namespace minions::core
