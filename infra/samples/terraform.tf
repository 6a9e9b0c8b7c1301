# An application by Terraform. What protects its table is marked. `terraform plan` says "must be replaced" or "will be destroyed"
# where check-deploy would refuse; prevent_destroy makes it an error.
resource "aws_dynamodb_table" "notes" {
  name         = "notes-table"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "noteId"

  deletion_protection_enabled = true                 # protects
  stream_enabled              = true                 # protects
  stream_view_type            = "NEW_AND_OLD_IMAGES" # protects

  attribute {
    name = "noteId"
    type = "S"
  }

  tags = {
    journal = "on" # what guard looks for, with GuardTables tag:journal=on
  }

  lifecycle {
    prevent_destroy = true # protects
  }
}
