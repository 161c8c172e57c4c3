//! Preparations as timm and Hugging Face publish them beside their networks.

mod fields;
mod hugging_face;
mod timm;
