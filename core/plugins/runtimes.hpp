#pragma once

#include <minions/runtime.hpp>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace minions::core {

enum class RuntimeKind { vm, container };

/// One loaded runtime as core uses it: the SDK's own interfaces, whatever transport is behind them. Facet
/// pointers are null where the runtime does not have the facet. Lives until the process ends; safe from any
/// thread.
struct RuntimeHandle {
    std::string name;
    std::string version;
    std::string description;
    RuntimeKind kind = RuntimeKind::container;
    std::set<std::string> features;
    std::vector<std::string> facets;

    Runtime* runtime = nullptr;
    ExecFacet* exec = nullptr;
    LogsFacet* logs = nullptr;
    FilesFacet* files = nullptr;
    ForwardFacet* forward = nullptr;
    PauseFacet* pause = nullptr;
    ResizeFacet* resize = nullptr;
    StatsFacet* stats = nullptr;
    SnapshotFacet* snapshot = nullptr;
    CopyFacet* copy = nullptr;
    BuildFacet* build = nullptr;
};

/// Fills the facet pointers and `facets` from what the object derives from; for a runtime linked into a test.
template <class T>
void bind_facets(RuntimeHandle& handle, T& object) {
    handle.runtime = &object;
    const auto bind = [&]<class F>(F*& slot) {
        if constexpr (std::is_base_of_v<F, T>) {
            slot = &object;
            handle.facets.emplace_back(F::facet);
        }
    };
    bind(handle.exec);
    bind(handle.logs);
    bind(handle.files);
    bind(handle.forward);
    bind(handle.pause);
    bind(handle.resize);
    bind(handle.stats);
    bind(handle.snapshot);
    bind(handle.copy);
    bind(handle.build);
}

/// The runtimes of this daemon and what is known of their health. The set is fixed after start. Thread-safe;
/// nothing here calls into a runtime except refresh().
class Runtimes {
  public:
    virtual ~Runtimes() = default;

    virtual std::vector<const RuntimeHandle*> all() const = 0;
    /// Null when no loaded runtime has that name.
    virtual const RuntimeHandle* find(std::string_view name) const = 0;
    /// What the runtime last said of itself. Never blocks.
    virtual Health health(const RuntimeHandle& runtime) const = 0;

    /// The runtime for a create that names none: `runtimes.default` if set, else the first healthy one that
    /// runs VMs, else the first healthy one. Throws Error{unavailable} that lists each runtime with its
    /// reason.
    virtual const RuntimeHandle& default_runtime() const = 0;
    /// The runtime of that name for work that needs it healthy. Throws invalid (unknown name, with the known
    /// ones), unavailable (with the reason health gave).
    virtual const RuntimeHandle& require(std::string_view name) const = 0;
};

}  // namespace minions::core
