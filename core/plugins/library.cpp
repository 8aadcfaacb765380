#define BOOST_DLL_USE_STD_FS
#include "core/plugins/library.hpp"

#include "core/plugins/description.hpp"

#include <minions/base/sync.hpp>

#include <boost/dll/shared_library.hpp>
#include <fmt/format.h>

#include <list>

namespace minions::core {
namespace {

/// The linker's words out of Boost's: "… (dlerror system message: WORDS): Exec format error".
std::string linker_words(const std::string& text) {
    constexpr std::string_view before = "dlerror system message: ";
    const auto at = text.find(before);
    if (at == std::string::npos) return text;
    const auto start = at + before.size();
    const auto end = text.rfind(')');
    return text.substr(start, end == std::string::npos || end < start ? end : end - start);
}

}  // namespace

const minions_plugin* load_plugin(const std::string& path) {
    // Never unloaded, nor destroyed at exit: threads, thread-local destructors and unique symbols of a plugin
    // outlive every use that we know of.
    static auto& kept = *new Sync<std::list<boost::dll::shared_library>>;
    boost::dll::shared_library library;
    try {
        library.load(std::filesystem::path(path),
                     boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    } catch (const std::exception& error) {
        throw Refusal{"load_failed",
                      fmt::format("it cannot be loaded: {}; install what it needs, or build it again",
                                  linker_words(error.what()))};
    }
    if (!library.has(MINIONS_ENTRY_SYMBOL)) {
        throw Refusal{"no_entry",
                      "it has no function minions_plugin_entry: it is no plugin of this program; remove "
                      "the file, or build it with minions_add_plugin and one MINIONS_PLUGIN line"};
    }
    const auto entry = library.get<const minions_plugin*()>(MINIONS_ENTRY_SYMBOL);
    kept.lock()->push_back(library);
    return entry();
}

}  // namespace minions::core
