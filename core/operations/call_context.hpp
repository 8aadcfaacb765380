#pragma once

#include "core/store/store.hpp"

#include <minions/base/sync.hpp>
#include <minions/context.hpp>

#include <functional>
#include <memory>
#include <string>

namespace minions::core {

/// What the services of a call are about.
struct VmCall {
    const Context& ctx;     ///< outlives the services
    std::string instance;   ///< id
    std::string operation;  ///< id, or empty
};

/// What core offers VM runtimes for one call, made when the call first asks for one of them. What they make
/// is journalled in rows without a runtime. The accessors throw unavailable for what this daemon does not
/// offer.
class VmServices {
  public:
    virtual ~VmServices() = default;
    virtual Network& network() = 0;
    virtual Processes& processes() = 0;
    virtual Images& images() = 0;
    /// Undoes one row of theirs. Nothing to undo is success. Repeatable.
    virtual void release(const JournalRow& row) = 0;
    /// The instance ended by itself: undoes what it had for that life alone, unless `still` is false once
    /// nobody else makes or undoes such things for it. Repeatable.
    virtual void ended(const std::function<bool()>& still) = 0;
};

/// [any thread]
using MakeVmServices = std::function<std::unique_ptr<VmServices>(VmCall call)>;

/// What a call into a runtime is about, and how it is bounded.
struct CallOptions {
    std::string runtime;
    std::string instance;   ///< id, or empty (a build)
    std::string operation;  ///< id, or empty for calls outside of operations
    SteadyTime deadline = SteadyTime::max();
    int cancel_fd = -1;         ///< readable: cancelled; -1: never. Borrowed
    int second_cancel_fd = -1;  ///< as cancel_fd where two may end the call
    std::function<void(const Progress&)> progress;
    std::function<void(const RuntimeState&)> state_saved;  ///< as Transaction::after_commit()
    std::function<void(LogLevel, std::string_view)> log;
    MakeVmServices vm_services;  ///< empty: network, processes and images are unavailable
};

/// minions::Context over the store: journal rows and the runtime's state are committed before the call that
/// asked for them returns.
/// Usable from several threads, as Context says; must not outlive the store.
class CallContext final : public Context {
  public:
    CallContext(Store& store, CallOptions options);
    ~CallContext() override;

    SteadyTime deadline() const override { return options_.deadline; }
    bool cancelled() const noexcept override;
    /// -1 polls as never readable.
    int cancel_fd() const noexcept override;
    void log(LogLevel level, std::string_view message) noexcept override;
    void progress(const Progress& progress) override;
    /// Throws internal where the call is about no instance.
    void save_state(const RuntimeState& state) override;
    Journal& journal() override;
    Network& network() override;
    Processes& processes() override;
    Images& images() override;
    /// VmServices::release(). Throws unavailable without services.
    void release_own(const JournalRow& row);
    /// VmServices::ended(). Throws unavailable without services.
    void ended(const std::function<bool()>& still);

  private:
    class StoreJournal;
    VmServices& vm_services();

    Store& store_;
    CallOptions options_;
    std::unique_ptr<StoreJournal> journal_;
    Sync<std::unique_ptr<VmServices>> vm_services_;
    Fd both_;  ///< an epoll descriptor where two descriptors may cancel
};

}  // namespace minions::core
