// Plugins that misbehave when their entry function or open() is called; the name says how.
#include "well_formed.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

constexpr std::string_view how = BAD_NAME;

void ignore(void*, const char*, std::size_t, const int*, std::size_t) {}

void say(const minions_host* host, const char* text) {
    host->call(host->self, 0, text, std::strlen(text), nullptr, 0, ignore, nullptr);
}

void open(const minions_host* host, const char* data, std::size_t size, void** plugin, minions_reply_fn reply,
          void* sink) {
    if (how == "open-crashes") std::abort();
    if (how == "open-exits") std::exit(0);
    if (how == "open-garbles") return reply(sink, "{", 1, nullptr, 0);
    while (how == "open-hangs") ::pause();
    if (how == "open-talks") {
        say(host, R"({"m":"report","p":{"instance":"i","boot":1,"facts":{"status":"running"}}})");
        say(host, R"({"m":"health_changed","p":{}})");
    }
    bad::open(host, data, size, plugin, reply, sink);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const minions_plugin* minions_plugin_entry(void) {
    if (how == "entry-crashes") std::abort();
    static minions_plugin plugin = bad::well_formed(BAD_NAME);
    plugin.open = open;
    return &plugin;
}
