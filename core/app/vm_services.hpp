#pragma once

#include "core/images/image_store.hpp"
#include "core/net/net.hpp"
#include "core/operations/call_context.hpp"
#include "core/operations/instance_locks.hpp"
#include "core/process/processes.hpp"
#include "core/store/store.hpp"

namespace minions::core {

/// What core offers VM runtimes, put together for each call. Outlives the calls.
class VmServiceParts {
  public:
    VmServiceParts(Store& store, ProcessOptions processes);

    /// From here on there are images. Once, before the first make().
    void offer(ImageStore& images) { images_ = &images; }

    /// From here on there is a network. Once, before the first make().
    void offer(Net& net) { net_ = &net; }

    std::unique_ptr<VmServices> make(VmCall call);

  private:
    ImageStore* images_ = nullptr;
    Net* net_ = nullptr;
    InstanceLocks locks_;
    ProcessSupervisor supervisor_;
    ProcessParts processes_;
};

}  // namespace minions::core
