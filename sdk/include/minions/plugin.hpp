#pragma once

#include <minions/abi.h>
#include <minions/codec.hpp>
#include <minions/runtime.hpp>

#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

/// What turns a class into a plugin. A plugin is a class that derives from minions::Runtime and from the
/// facets it has, is constructed as `MyRuntime(Host&, Config)` (or `MyRuntime(Host&)` where it has no
/// Config), and one line in one source file:
///
///     MINIONS_PLUGIN(MyRuntime, "mine", "1.0", "runs instances my way", minions::Kind::container)
///
/// Everything else in the descriptor is computed from the class: the facets from its bases, the configuration
/// keys from the described struct `MyRuntime::Config` (types, bounds, secrecy and documentation from its
/// fields, defaults from a default-constructed one), the spec features from `MyRuntime::features` if it has
/// one (a static array of strings). docs/sdk/writing-a-runtime.md has a complete example.
namespace minions {

enum class Kind { vm = MINIONS_KIND_VM, container = MINIONS_KIND_CONTAINER };

namespace detail {

struct Identity {
    const char* name;
    const char* version;
    const char* description;
    Kind kind;
};

/// A runtime object by its interfaces; a facet that it does not have is null.
struct FacetTable {
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

    /// Calls `visit(slot)` for each facet.
    template <class Visit>
    void each_facet(Visit&& visit) {
        visit(exec);
        visit(logs);
        visit(files);
        visit(forward);
        visit(pause);
        visit(resize);
        visit(stats);
        visit(snapshot);
        visit(copy);
        visit(build);
    }
};

template <class T>
FacetTable facets_of(T& object) {
    FacetTable table;
    table.runtime = &object;
    table.each_facet([&]<class F>(F*& slot) {
        if constexpr (std::is_base_of_v<F, T>) slot = &object;
    });
    return table;
}

template <class T>
concept HasConfig = requires {
    typename T::Config;
};
template <class T>
concept HasFeatures = requires {
    std::begin(T::features);
};

/// The descriptor of a plugin with everything that its pointers point to. Lives as long as the process.
class Descriptor {
  public:
    explicit Descriptor(const Identity& identity);
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    void add_facet(const char* facet) { facets_.push_back(facet); }
    void add_feature(const char* feature) { features_.push_back(feature); }

    template <Described Config>
    void add_config() {
        Config defaults{};
        Config::fields(defaults, [&](const char* name, auto& member, const Field& field = {}) {
            using Member = std::remove_cvref_t<decltype(member)>;
            add_key(name, type_of_key<Member>(), encode(member), field);
        });
    }

    /// Completes the C struct; nothing can be added afterwards.
    const minions_plugin* finish(decltype(minions_plugin::open) open);

  private:
    template <class T>
    static constexpr const char* type_of_key() {
        if constexpr (is_optional<T>) {
            return type_of_key<typename T::value_type>();
        } else if constexpr (std::is_same_v<T, bool>) {
            return "boolean";
        } else if constexpr (std::is_same_v<T, std::string> || WordEnum<T>) {
            return "string";
        } else if constexpr (std::is_integral_v<T>) {
            return "integer";
        } else if constexpr (std::is_floating_point_v<T>) {
            return "number";
        } else {
            static_assert(std::is_same_v<T, std::vector<std::string>>,
                          "a configuration key is a string, a number, a boolean or a list of strings");
            return "list";
        }
    }
    void add_key(const char* name, const char* type, const Value& default_value, const Field& field);

    minions_plugin plugin_{};
    std::vector<const char*> facets_;
    std::vector<const char*> features_;
    std::vector<minions_config_key> keys_;
    std::deque<std::string> texts_;  // never moves what it holds
};

/// Makes the runtime object and says where its interfaces are.
using Factory = std::function<FacetTable(Host& host, const Value& config)>;

/// The `open` of every plugin: parses the message, makes the object, wires it to the host. Never throws.
void open_plugin(const Factory& factory, const minions_host* host, const char* data, std::size_t size,
                 void** plugin, minions_reply_fn reply, void* sink) noexcept;

template <class T>
void open_as(const minions_host* host, const char* data, std::size_t size, void** plugin,
             minions_reply_fn reply, void* sink) {
    const Factory factory = [](Host& to, [[maybe_unused]] const Value& config) {
        // The object lives until the process ends: threads of its own may use it to the last moment.
        if constexpr (HasConfig<T>) {
            return facets_of(*new T(to, decode<typename T::Config>(config)));
        } else {
            return facets_of(*new T(to));
        }
    };
    open_plugin(factory, host, data, size, plugin, reply, sink);
}

template <class T>
const minions_plugin* describe(const Identity& identity) {
    static_assert(std::is_base_of_v<Runtime, T>, "a plugin's class derives from minions::Runtime");
    static const minions_plugin* const made = [&] {
        auto descriptor = std::make_unique<Descriptor>(identity);
        FacetTable{}.each_facet([&]<class F>(F*&) {
            if constexpr (std::is_base_of_v<F, T>) descriptor->add_facet(F::facet);
        });
        if constexpr (HasFeatures<T>) {
            for (const char* feature : T::features) descriptor->add_feature(feature);
        }
        if constexpr (HasConfig<T>) descriptor->template add_config<typename T::Config>();
        const minions_plugin* finished = descriptor->finish(&open_as<T>);
        static_cast<void>(descriptor.release());  // it lives as long as the process
        return finished;
    }();
    return made;
}

/// describe() for the C seam, which nothing may be thrown across: null, with the sentence on standard error.
template <class T>
const minions_plugin* describe_or_null(const Identity& identity) noexcept {
    try {
        return describe<T>(identity);
    } catch (...) {
        std::fprintf(stderr, "%s: %s\n", identity.name, current_error().what());
        return nullptr;
    }
}

}  // namespace detail
}  // namespace minions

/// Defines the one function that the shared object exports. Use it once, outside of any namespace.
#define MINIONS_PLUGIN(RuntimeClass, name, version, description, kind)                                   \
    extern "C" __attribute__((visibility("default"))) const minions_plugin* minions_plugin_entry(void) { \
        return ::minions::detail::describe_or_null<RuntimeClass>({name, version, description, kind});    \
    }
