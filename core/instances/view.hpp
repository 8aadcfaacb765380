#pragma once

#include "core/store/rows.hpp"

#include <memory>
#include <string>

namespace minions::core {

/// An instance as readers see it at one moment; immutable, shared.
struct InstanceView {
    InstanceRow row;  ///< with the environment in clear: for calls into the runtime, never to be shown
    Status status = Status::unknown;  ///< what to show: row.status, or unknown while the runtime is away
    std::string reason;               ///< why it is unknown or in error; may be empty
    /// The object of the API: name status ip vsock_cid cpus memory_mb pid created_at, then id runtime image
    /// command environment (values "***") labels ports exit_code health reason handle. `ports` is the map of
    /// "8080/tcp" to the port on the host.
    std::shared_ptr<const std::string> json;

    /// For calls into the runtime.
    Instance instance() const;
};
using InstanceViewPtr = std::shared_ptr<const InstanceView>;

/// Makes the view of a row; `unknown_because` non-empty shows it as unknown.
InstanceViewPtr make_view(InstanceRow row, std::string unknown_because = {});

/// The same document as a value.
Value view_document(const InstanceView& view);

}  // namespace minions::core
