#pragma once

#include <minions/codec.hpp>

#include <string>
#include <string_view>

namespace minions {
namespace vmkit {
/// Whether a runtime's guests are to run on KVM, as its configuration says.
enum class UseKvm { automatic, yes, no };
}  // namespace vmkit
template <>
struct EnumWords<vmkit::UseKvm> {
    static constexpr std::string_view words[] = {"auto", "yes", "no"};
};
}  // namespace minions

namespace minions::vmkit {

/// Whether guests can run on KVM here.
struct KvmState {
    bool usable = false;
    std::string reason;  ///< why not; a sentence that names the cure
};

/// KVM counts as usable only if its device opens and the CPU shows vmx or svm: a device alone can exist where
/// every guest hangs (KVM over paravirtualisation, on small cloud hosts). Quick; looks anew each time.
KvmState kvm_state();
/// The same under the setting of a runtime: `yes` is believed.
KvmState kvm_state(UseKvm use, std::string_view runtime);
/// The same of other files, for tests.
KvmState kvm_state(const std::string& device, const std::string& cpuinfo);

}  // namespace minions::vmkit
