#pragma once

#include <string>

namespace minions::vmkit {

/// Whether guests can run on KVM here.
struct KvmState {
    bool usable = false;
    std::string reason;  ///< why not; a sentence that names the cure
};

/// KVM counts as usable only if its device opens and the CPU shows vmx or svm: a device alone can exist where
/// every guest hangs (KVM over paravirtualisation, on small cloud hosts). Quick; looks anew each time.
KvmState kvm_state();
/// The same of other files, for tests.
KvmState kvm_state(const std::string& device, const std::string& cpuinfo);

}  // namespace minions::vmkit
