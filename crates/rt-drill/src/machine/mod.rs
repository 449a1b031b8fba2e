//! One host as a C program sees it: descriptors, socket calls, options, errno, sysctls, over `rt-stack`.
