//! Image sets from outside, with other people's programs as the measure: `xorriso` makes images, `bsdtar` and `cpio` say
//! what is in them.

mod cpio;
mod handmade;
mod hostile;
mod import;
mod iso;
mod overlay;
mod support;
